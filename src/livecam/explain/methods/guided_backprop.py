"""Guided backpropagation and deconvnet: gradients that pass rectifiers by another rule."""

import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from livecam.explain.methods.gradients import InputGradient
from livecam.explain.recording.recording import Recording

_IN_PLACE = {torch.relu_, F.relu_, Tensor.relu_}
_RELUS = {F.relu, torch.relu, Tensor.relu, *_IN_PLACE}
# The same kind of gate that this package has no rule for: their own gradient stays.
_OTHERS = {F.silu, F.gelu, F.hardswish, F.leaky_relu, F.elu, F.celu, F.selu, F.mish, F.softplus, F.prelu, F.rrelu}
_OTHERS |= {F.leaky_relu_, F.elu_, F.celu_, F.selu_, torch.prelu, torch.tanh, Tensor.tanh}


class _Rectify(torch.autograd.Function):
    """A rectifier of its own backward rule: ``rule(incoming gradient, whether the unit passes forward)``."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rule: Callable, ceiling: float | None, inplace: bool) -> Tensor:
        passes = values > 0
        if ceiling is not None:
            passes = passes & (values < ceiling)
        ctx.save_for_backward(passes)
        ctx.rule = rule
        if inplace:
            ctx.mark_dirty(values)
        return values.clamp_(0, ceiling) if inplace else values.clamp(0, ceiling)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.rule(gradient, *ctx.saved_tensors), None, None, None


class Rectifiers(TorchFunctionMode):
    """While it is entered, every ReLU passes gradients by ``rule``, module or function, shared or in place.

    Nothing of the model is touched: calls are caught where they reach torch.

    Args:
        rule: Gradient to pass on, from the incoming one and from where the unit passes forward (bool).
    """

    def __init__(self, rule: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.rule = rule
        self.replaced = 0
        self.others: set[str] = set()

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func in _RELUS:
            values, flag = _arguments(args, kwargs, 1)
            return self._rectify(values, None, func in _IN_PLACE or bool(flag))
        if func in (F.relu6, F.hardtanh, F.hardtanh_):
            bounds = (0.0, 6.0) if func is F.relu6 else _bounds(args, kwargs)
            if bounds[0] == 0:
                values, flag = _arguments(args, kwargs, 1 if func is F.relu6 else 3)
                return self._rectify(values, bounds[1], func is F.hardtanh_ or bool(flag))
        if func in _OTHERS:
            self.others.add(func.__name__)
        return func(*args, **kwargs)

    def _rectify(self, values: Tensor, ceiling: float | None, inplace: bool) -> Tensor:
        self.replaced += 1
        return _Rectify.apply(values, self.rule, ceiling, inplace)


def _arguments(args: tuple, kwargs: dict, place: int) -> tuple[Tensor, bool]:
    """The input of an activation function, and its ``inplace`` flag, which may stand at ``place``."""
    values = args[0] if args else kwargs["input"]
    return values, kwargs.get("inplace", args[place] if len(args) > place else False)


def _bounds(args: tuple, kwargs: dict) -> tuple[float, float]:
    low = kwargs.get("min_val", args[1] if len(args) > 1 else -1.0)
    return float(low), float(kwargs.get("max_val", args[2] if len(args) > 2 else 1.0))


@dataclass(frozen=True)
class ModifiedReluGradient(InputGradient):
    """dS_c/dx where rectifiers pass gradients by a rule of their own; costs one forward and one backward.

    Works on modules, functions, in-place and shared ReLUs and ReLU6 alike. Other activations keep their own gradient,
    which is warned of (gates by sigmoids apart). ``details``: ``gradient`` ``(N, 3, H, W)``, signed; ``rectifiers``,
    the number of calls caught.
    """

    @staticmethod
    @abstractmethod
    def rule(gradient: Tensor, passes: Tensor) -> Tensor:
        """Gradient below a rectifier, from the one above it and from where it passes forward."""

    def gradient(self, recording: Recording) -> tuple[Tensor, dict[str, Any]]:
        mode = Rectifiers(self.rule)
        sample_index = torch.arange(len(recording.images), device=recording.images.device)
        rerun = recording.rerun(recording.images, sample_index, input_gradient=True, context=mode)
        details: dict[str, Any] = {"rectifiers": mode.replaced}
        if not mode.replaced:
            details["note"] = "plain gradient"
        if mode.others or not mode.replaced:
            kinds = f"{', '.join(sorted(mode.others))} instead of" if mode.others else "no"
            kinds = f"{kinds} ReLU" if not mode.replaced else f"{', '.join(sorted(mode.others))} beside ReLU"
            warnings.warn(
                f"{self.label} changes ReLUs only; this network has {kinds}, whose gradient is used.", stacklevel=2
            )
        return rerun.input_gradient, details


@dataclass(frozen=True)
class GuidedBackprop(ModifiedReluGradient):
    """Guided backpropagation (Springenberg et al. 2015): a ReLU passes positive gradients of units that are on.

    It shows edges that matter to many classes; Adebayo et al. (2018) found it nearly blind to the deeper weights.
    """

    method: ClassVar[str] = "guided_backprop"
    label: ClassVar[str] = "Guided backprop"

    @staticmethod
    def rule(gradient: Tensor, passes: Tensor) -> Tensor:
        return gradient.relu() * passes


@dataclass(frozen=True)
class Deconvnet(ModifiedReluGradient):
    """Deconvnet (Zeiler and Fergus 2014): a ReLU passes positive gradients, whether its unit is on or not."""

    method: ClassVar[str] = "deconvnet"
    label: ClassVar[str] = "Deconvnet"

    @staticmethod
    def rule(gradient: Tensor, passes: Tensor) -> Tensor:
        return gradient.relu()
