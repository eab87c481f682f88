"""Explaining from a forward that somebody else runs: no pass of our own, and no autograd.

A network that ends in global average pooling and one linear layer has S_c = b_c + sum_k w_ck mean(A_k), so the gradient
of its score is w_ck / Z at each of the Z positions. Its last feature map, as a validation step leaves it, is then all
that class activation maps need.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from livecam.core.heads import get_head
from livecam.core.normalization import Normalization
from livecam.explain.recording.channel_stats import Channels
from livecam.explain.recording.hooks import IMAGES, Capture, merge, reduced
from livecam.explain.recording.network_structure import Structure, named_layers, structure_of
from livecam.explain.recording.recording import Recording
from livecam.runtime.model_state import is_explaining, to_model_dtype


class NotRecordedError(RuntimeError):
    """The recorded forward does not show what is needed."""


def has_closed_form_gradient(captures: Iterable[Capture], structure: Structure) -> bool:
    """Whether activations tell all that is captured: no gradient is asked for but that of what the head pools."""
    pooled = _pooled(structure)
    gradient_captures = [capture for capture in captures if capture.gradient]
    if pooled is None or IMAGES in gradient_captures:
        return False
    return all(replace(capture, layer=structure.resolve(capture.layer)) == pooled for capture in gradient_captures)


class PassiveRecorder:
    """Keeps what layers show while somebody else runs the network, and changes nothing of what that computes.

    Hooks are in place from the start until :meth:`stop`.

    Args:
        model: A network that ends in global average pooling and one linear layer.
        images: Model input ``(N, 3, H, W)`` that it is about to be given.
        captures: What to keep; :func:`has_closed_form_gradient` holds for them.
    """

    def __init__(self, model: nn.Module, images: Tensor, captures: Sequence[Capture]) -> None:
        self.model, self.images, self.structure = model, images, structure_of(model, images)
        self._layers = named_layers(model)
        self._pooled = _pooled(self.structure)
        # All found before the first hook is placed: a layer that does not exist must leave none behind.
        pairs = [(self._layers[self.structure.resolve(c.layer)], c) for c in merge([*captures, self._pooled])]
        self._hooks = [_PassiveHook(layer, capture) for layer, capture in pairs]

    @property
    def in_half(self) -> bool:
        """Whether a layer's activations were in half precision."""
        return any(hook.in_half for hook in self._hooks)

    def stop(self) -> None:
        """Take the hooks away."""
        for hook in self._hooks:
            hook.handle.remove()

    def check(self) -> None:
        """See whether everything was recorded.

        Raises:
            NotRecordedError: See :meth:`recording`.
        """
        self._values()

    def logits(self) -> Tensor:
        """Logits ``(N, K)`` of all images; for what is raised see :meth:`recording`."""
        return self._classified(self._values()[self._pooled].mean((2, 3)))[0]

    def recording(
        self, rows: Tensor | slice | None, targets: Tensor | None, head: str, normalization: Normalization | None = None
    ) -> Recording:
        """What a recorded pass over some of the images would have shown.

        Args:
            rows: Which of the images, any of them several times if need be; None for all, in their order.
            targets: Class of each row ``(M,)``; None means the predicted one.
            head: See :func:`livecam.core.heads.get_head`.
            normalization: See :class:`Recording`.

        Raises:
            NotRecordedError: When the forward did not show it: a layer ran not exactly once, or saw other images.
            ValueError: When a target is out of range.
        """
        images, activations = self.images, self._values()
        if rows is not None:
            images, activations = images[rows], {capture: value[rows] for capture, value in activations.items()}
        pooled = activations[self._pooled]
        channels = Channels(pooled)
        logits, weight = self._classified(channels.mean)
        net_head = get_head(head, logits.shape[1])
        targets = net_head.predict(logits) if targets is None else targets.long()
        net_head.check_targets(targets, logits)
        gradient = net_head.class_weights(weight, targets) / pooled.shape[2:].numel()
        gradient = gradient[:, :, None, None].expand_as(pooled)
        return Recording(
            images=to_model_dtype(self.model, images),
            targets=targets,
            logits=logits,
            activations=activations,
            gradients={capture: gradient for capture in activations if capture.gradient},
            input_gradient=None,
            model=self.model,
            head=net_head,
            normalization=normalization,
            structure=self.structure,
            _layers=self._layers,
            _channels={self._pooled: channels},
        )

    def _values(self) -> dict[Capture, Tensor]:
        return {hook.capture: hook.value(len(self.images)) for hook in self._hooks}

    def _classified(self, means: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of pooled activations ``(M, K)``, and the weight of the layer that gives them."""
        linear = self._layers[self.structure.linear]
        weight = linear.weight.detach().to(means.dtype)
        return F.linear(means, weight, None if linear.bias is None else linear.bias.detach().to(means.dtype)), weight


class _PassiveHook:
    """Keeps one capture of a forward that is not ours."""

    def __init__(self, module: nn.Module, capture: Capture) -> None:
        self.capture = capture
        self.in_half = False
        self._runs = 0
        self._value: Tensor | None = None
        if capture.at == "input":
            self.handle = module.register_forward_pre_hook(lambda module, args: self._keep(args[0] if args else None))
        else:
            self.handle = module.register_forward_hook(lambda module, args, output: self._keep(output))

    def _keep(self, value: object) -> None:
        if is_explaining():
            return
        self._runs += 1
        self._value = None
        if isinstance(value, Tensor) and value.ndim == 4:
            # It is not our forward: what we do with it must not end it, for want of memory, say.
            with suppress(Exception):
                self.in_half = value.dtype.itemsize < 4
                self._value = reduced(value, self.capture.reduce) if self.capture.reduce else value.detach()

    def value(self, count: int) -> Tensor:
        """The value of a forward of ``count`` images, in at least float32."""
        layer = self.capture.layer
        if self._runs != 1:
            raise NotRecordedError(f"layer {layer!r} ran {self._runs} times")
        if self._value is None or len(self._value) != count:
            raise NotRecordedError(f"layer {layer!r} did not see the {count} images of the batch")
        if self._value.dtype.itemsize < 4:
            self._value = self._value.float()
        return self._value


def _pooled(structure: Structure) -> Capture | None:
    """What the GAP+linear head pools; None without such a head."""
    if structure.linear is None:
        return None
    return Capture(structure.target_layer, gradient=True, post_relu=structure.post_relu)
