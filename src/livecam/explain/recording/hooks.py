"""What to keep of a layer, and the hook that keeps it without changing what the network computes."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from livecam.core.errors import OptionError, UnsupportedNetworkError

_REDUCE: dict[str, Callable[[Tensor], Tensor]] = {
    "channel_mean": lambda value: value.mean(1, keepdim=True),
    "positive_mean": lambda value: value.clamp(min=0).mean(1, keepdim=True),
    "positive_rms": lambda value: value.clamp(min=0).square().mean(1, keepdim=True).sqrt(),
}


@dataclass(frozen=True)
class Capture:
    """A request to keep one layer's tensor.

    Captures that differ in ``gradient`` only are equal: they are one tensor, kept once, with its gradient if anybody
    asked for it.

    Args:
        layer: Name of the layer; None means the network's default target layer.
        at: Whether the layer's ``output`` or its (first) ``input`` is kept.
        gradient: Whether the gradient of the class score with respect to it is wanted.
        reduce: Keep ``(N, 1, h, w)`` instead of all channels: their ``channel_mean``, or the ``positive_mean`` or
            ``positive_rms`` (root of the mean square) of their positive parts.
        post_relu: The layer is followed by an in-place ReLU, and its value after that ReLU is wanted.

    Raises:
        ValueError: When ``at`` or ``reduce`` is none of these, or a gradient of channel means is asked for.
    """

    layer: str | None
    at: str = "output"
    gradient: bool = field(default=False, compare=False)
    reduce: str | None = None
    post_relu: bool = False

    def __post_init__(self) -> None:
        if self.at not in ("output", "input") or self.reduce not in (None, *_REDUCE):
            raise OptionError(f"Capture has at='output' or 'input' and reduce=None or one of {[*_REDUCE]}, got {self}.")
        if self.gradient and self.reduce:
            raise OptionError("Channel means have no gradient of their own: capture the whole layer.")


IMAGES = Capture("", at="input", gradient=True)
"""Asks for the gradient of the class score with respect to the images: :attr:`Recording.input_gradient`."""


def merge(captures: Iterable[Capture]) -> list[Capture]:
    """Keep equal captures once, with a gradient if any of them asks for one."""
    merged: dict[Capture, bool] = {}
    for capture in captures:
        merged[capture] = merged.get(capture, False) or capture.gradient
    unique = [replace(capture, gradient=gradient) for capture, gradient in merged.items()]
    # Post-ReLU values live in the tensor that the last hook of a layer hands on, so these hooks come last.
    return sorted(unique, key=lambda capture: capture.post_relu)


def reduced(value: Tensor, reduce: str) -> Tensor:
    """One map ``(N, 1, h, w)`` of the channels of ``(N, C, h, w)``, see :class:`Capture`; detached."""
    # In full precision: squares of half-precision activations overflow.
    return _REDUCE[reduce](value.detach() if value.dtype == torch.float64 else value.detach().float())


class ActivationHook:
    """Keeps one capture during one forward.

    The kept tensor is the layer's own value; the network goes on with a clone of it, so that a later in-place
    operation cannot change what was kept, and the gradient is the one with respect to the layer's own output.
    """

    def __init__(self, module: nn.Module, capture: Capture) -> None:
        self.module = module
        self.capture = capture
        self.tensor: Tensor | None = None

    def attach(self) -> torch.utils.hooks.RemovableHandle:
        """Place the hook; the caller removes it."""
        self.tensor = None
        if self.capture.at == "input":
            return self.module.register_forward_pre_hook(self._before)
        return self.module.register_forward_hook(self._after)

    def result(self) -> Tensor:
        """The kept value, detached, in at least float32.

        Raises:
            ValueError: When the layer did not run, or its post-ReLU value was asked for and no in-place ReLU follows.
        """
        if self.tensor is None:
            raise UnsupportedNetworkError(f"Layer {self.capture.layer!r} takes no part in the model's forward.")
        value = self.tensor.detach()
        if self.capture.post_relu and value.numel() and value.min() < 0:
            raise UnsupportedNetworkError(f"No in-place ReLU follows {self.capture.layer!r}: use post_relu=False.")
        return value if value.dtype == torch.float64 else value.float()

    def _before(self, module: nn.Module, args: tuple) -> tuple:
        return (self._keep(args[0]), *args[1:])

    def _after(self, module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        return self._keep(output)

    def _keep(self, value: Tensor) -> Tensor:
        capture = self.capture
        if not isinstance(value, Tensor) or value.ndim != 4:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise UnsupportedNetworkError(
                f"Layer {capture.layer!r} has {shape} as its {capture.at}, but a map needs (N, C, h, w): "
                "choose a convolutional layer."
            )
        if self.tensor is not None:
            warnings.warn(f"Layer {capture.layer!r} runs several times per forward; its last run counts.", stacklevel=2)
        if not capture.gradient:
            if capture.reduce is not None:
                self.tensor = reduced(value, capture.reduce)
                return value
            if not capture.post_relu:
                self.tensor = value.detach()
                return value.clone()
        else:
            # Everything after this layer builds a graph, nothing before it does.
            torch.set_grad_enabled(True)
        tensor = value if value.requires_grad or not capture.gradient else value.detach().requires_grad_(True)
        copy = tensor.clone()
        # The post-ReLU value appears when the network's own in-place ReLU overwrites the very tensor handed on.
        self.tensor = copy if capture.post_relu else tensor
        return copy
