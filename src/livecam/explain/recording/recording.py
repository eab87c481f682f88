"""One forward, one backward: everything that a set of explainers asked to see of a network."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from livecam.core.errors import OptionError, UnsupportedNetworkError
from livecam.core.heads import Head, as_logits, get_head
from livecam.core.normalization import Normalization
from livecam.explain.recording.channel_stats import Channels
from livecam.explain.recording.hooks import IMAGES, ActivationHook, Capture, merge
from livecam.explain.recording.network_structure import Structure, named_layers, structure_of
from livecam.runtime.inference import Precision, autocast_for, predict_logits, to_channels_last
from livecam.runtime.memory import auto_batch_size
from livecam.runtime.model_state import check_images, isolated_eval, leave_inference_mode, to_model_dtype
from livecam.runtime.module_state import temporary_hooks
from livecam.runtime.progress import chunks


@dataclass(frozen=True, eq=False)
class Recording:
    """What one pass over a batch showed.

    Args:
        images: Model input ``(N, 3, H, W)``.
        targets: Explained class of each sample, ``(N,)``.
        logits: ``(N, K)``, detached.
        activations: Tensor ``(N, C, h, w)`` of each capture, float32 or float64; ``(N, 1, h, w)`` where it reduces
            channels.
        gradients: d score / d activation of each capture that asked for it, same shape and type.
        input_gradient: d score / d images ``(N, 3, H, W)``, or None when nobody asked (by ``input_gradient=True``, or
            by the capture ``IMAGES``).
        model: The explained network.
        head: How its logits are read.
        normalization: Tie between model input and pixels; None when the caller gave none.
        structure: The network's default layer, stages and head.
        results: Explainers, and what each has made of this recording already.
    """

    images: Tensor
    targets: Tensor
    logits: Tensor
    activations: dict[Capture, Tensor]
    gradients: dict[Capture, Tensor]
    input_gradient: Tensor | None
    model: nn.Module
    head: Head
    normalization: Normalization | None
    structure: Structure
    _layers: dict[str, nn.Module] = field(repr=False)
    results: list[tuple[Any, tuple[Tensor, dict[str, Any]]]] = field(default_factory=list, repr=False)
    _channels: dict[Capture, Channels] = field(default_factory=dict, repr=False)

    def layer(self, name: str) -> nn.Module:
        """The module with this full name."""
        return self._layers[name]

    def channels(self, capture: Capture) -> Channels:
        """Statistics of a capture's channels; found once, however many methods ask."""
        if capture not in self._channels:
            self._channels[capture] = Channels(self.activations[capture])
        return self._channels[capture]

    def internal_batch_size(self, explainer: Any, backward: bool = False) -> int:
        """Inputs per pass of a method: its own ``internal_batch_size``, or as many as fit in half of the free memory.

        Args:
            explainer: The method.
            backward: Whether a backward follows each forward.
        """
        if explainer.internal_batch_size is not None:
            return explainer.internal_batch_size
        return auto_batch_size(self.model, self.images, backward, getattr(explainer, "precision", "full"))

    def chunks(self, explainer: Any, count: int, backward: bool = False, every_image: bool = False) -> Iterator[slice]:
        """Slices of ``count`` further inputs of a method, each as large as one pass may be; progress is reported.

        Args:
            explainer: The method.
            count: Inputs in all.
            backward: Whether a backward follows each forward.
            every_image: Whether each of them is a variant of every image of the batch. Variants stay whole, so that
                sums over them need no scattering, which is not repeatable on a GPU.
        """
        size = self.internal_batch_size(explainer, backward) // (len(self.images) if every_image else 1)
        return chunks(explainer.label, count, max(1, size))

    def score(self, images: Tensor, sample_index: Tensor, precision: Precision = "full") -> Tensor:
        """Target logit of M further inputs; differentiable when grad mode is on.

        Args:
            images: Model input ``(M, 3, H, W)``; a single one is scored for every target, from one forward.
            sample_index: LongTensor ``(M,)``: the sample of this recording whose target each input is scored for.
            precision: What the network runs in, see :func:`livecam.runtime.inference.autocast_for`.

        Returns:
            Scores ``(M,)``, at least float32.
        """
        return self.head.score(self._logits(images, sample_index, precision), self.targets[sample_index])

    def probability(self, images: Tensor, sample_index: Tensor, precision: Precision = "full") -> Tensor:
        """Target probability in [0, 1] of M further inputs; see :meth:`score`."""
        return self.head.probability(self._logits(images, sample_index, precision), self.targets[sample_index])

    def _logits(self, images: Tensor, sample_index: Tensor, precision: Precision) -> Tensor:
        return predict_logits(self.model, images, precision).expand(len(sample_index), -1)

    def rerun(
        self,
        images: Tensor,
        sample_index: Tensor,
        captures: Sequence[Capture] = (),
        input_gradient: bool = False,
        context: AbstractContextManager | None = None,
        precision: Precision = "full",
    ) -> "Recording":
        """Record other inputs of the same samples, possibly under another backward rule.

        Args:
            images: Model input ``(M, 3, H, W)``.
            sample_index: LongTensor ``(M,)``: the sample each input belongs to.
            captures: What to keep.
            input_gradient: Whether to take the gradient with respect to ``images`` too.
            context: Entered around forward and backward (a TorchFunctionMode that swaps rectifiers, say).
            precision: What the network runs in, see :func:`livecam.runtime.inference.autocast_for`.
        """
        with autocast_for(precision, images.device):
            shared = {"head": self.head, "normalization": self.normalization, "structure": self.structure}
            images, targets = to_channels_last(images, precision), self.targets[sample_index]
            return _record(self.model, images, targets, captures, input_gradient, context, checked=True, **shared)


def record(
    model: nn.Module,
    images: Tensor,
    targets: Tensor | int | None = None,
    captures: Sequence[Capture] = (),
    *,
    head: str = "auto",
    normalization: Normalization | None = None,
    input_gradient: bool = False,
    structure: Structure | None = None,
) -> Recording:
    """Run ``model`` once and keep what the captures ask for; costs one forward and at most one backward.

    Neither the model nor the autograd, inference or autocast state around the call is changed. No graph is built
    before the first layer whose gradient is asked for.

    Args:
        model: Classifier whose forward takes images and returns logits ``(N, K)``.
        images: Model input ``(N, 3, H, W)``.
        targets: Class per sample ``(N,)``, one class for all, or None for the predicted class.
        captures: What to keep; equal captures are kept once.
        head: ``softmax``, ``binary``, ``multilabel`` or ``auto`` (see :func:`livecam.core.heads.get_head`).
        normalization: Passed on to the recording for methods that work in pixel space.
        input_gradient: Whether to take the gradient with respect to the images.
        structure: The result of :func:`structure_of`, when the caller already has it.

    Raises:
        ValueError: When the images are no batch, a target is out of range, or a layer does not feed the score.
        KeyError: When a capture names a layer that the model does not have.
    """
    check_images(images)
    shared = {"head": head, "normalization": normalization, "structure": structure or structure_of(model, images)}
    with isolated_eval(model, images.device):
        return _record(model, images, targets, captures, input_gradient, **shared)


def _record(
    model: nn.Module,
    images: Tensor,
    targets: Tensor | int | None,
    captures: Sequence[Capture],
    input_gradient: bool,
    context: AbstractContextManager | None = None,
    *,
    head: Head | str,
    normalization: Normalization | None,
    structure: Structure,
    checked: bool = False,
) -> Recording:
    images = to_model_dtype(model, images).detach()
    layers = named_layers(model)
    input_gradient = input_gradient or IMAGES in captures
    captures = merge(capture for capture in captures if capture != IMAGES)
    hooks = [ActivationHook(layers[structure.resolve(capture.layer)], capture) for capture in captures]
    wants_gradient = input_gradient or any(hook.capture.gradient for hook in hooks)
    with torch.no_grad(), context or nullcontext():
        leaf = images.detach().requires_grad_(True) if input_gradient else images
        logits = forward(model, leaf, hooks, grad=input_gradient)
        head = get_head(head, logits.shape[1]) if isinstance(head, str) else head
        # Checked again, they would make every further pass wait for the device.
        target_classes = targets if checked else _as_targets(targets, logits, head)
        activations = {hook.capture: hook.result() for hook in hooks}
        grads = _gradients(head, logits, target_classes, hooks, leaf) if wants_gradient else []
        if any(gradient is None for gradient in grads):
            # The model runs part of itself under no_grad (a frozen backbone, often): grad mode must be on all along.
            grads = _gradients(head, forward(model, leaf, hooks, grad=True), target_classes, hooks, leaf)
            _check_connected(grads, hooks)
    sources = [capture for capture in captures if capture.gradient]
    gradients = {capture: _at_least_float(gradient) for capture, gradient in zip(sources, grads)}
    return Recording(
        images=images,
        targets=target_classes,
        logits=logits.detach(),
        activations=activations,
        gradients=gradients,
        input_gradient=_at_least_float(grads[-1]) if input_gradient else None,
        model=model,
        head=head,
        normalization=normalization,
        structure=structure,
        _layers=layers,
    )


def forward(model: nn.Module, images: Tensor, hooks: Iterable[ActivationHook], grad: bool) -> Tensor:
    """Logits of ``images``; the hooks keep what they are made for, and are gone afterwards."""
    with temporary_hooks(hook.attach() for hook in hooks), torch.set_grad_enabled(grad):
        return as_logits(model(images))


def _gradients(
    head: Head, logits: Tensor, targets: Tensor, hooks: list[ActivationHook], leaf: Tensor
) -> tuple[Tensor | None, ...]:
    """Gradient of each layer that wants one, then of the images if they do; None where the score does not depend on it.

    One backward serves the whole batch: in eval mode no sample's score depends on another sample.
    """
    sources = [hook.tensor for hook in hooks if hook.capture.gradient] + ([leaf] if leaf.requires_grad else [])
    with torch.enable_grad():
        total = head.score(logits, targets).sum()
    if not total.requires_grad:
        return (None,) * len(sources)
    return torch.autograd.grad(total, sources, allow_unused=True)


def _check_connected(gradients: tuple[Tensor | None, ...], hooks: list[ActivationHook]) -> None:
    layers = [hook.capture.layer for hook in hooks if hook.capture.gradient]
    for layer, gradient in zip(layers, gradients):
        if gradient is None:
            raise UnsupportedNetworkError(
                f"Layer {layer!r} does not feed the class score and has no gradient: choose another."
            )
    if gradients[-1] is None:
        raise cut_off("class score")


def cut_off(what: str) -> UnsupportedNetworkError:
    """What to raise where nothing leads from the images to what was read of the class."""
    return UnsupportedNetworkError(
        f"The {what} has no gradient with respect to the images: the model runs its first layers under "
        "torch.no_grad(). Freeze them with requires_grad_(False) instead."
    )


def _as_targets(targets: Tensor | int | None, logits: Tensor, head: Head) -> Tensor:
    if targets is None:
        return head.predict(logits.detach())
    classes = torch.as_tensor(targets, device=logits.device).long()
    if classes.ndim == 0:
        classes = classes.expand(len(logits))
    if classes.shape != logits.shape[:1]:
        raise OptionError(f"Targets are one class index per image: {len(logits)} images, shape {tuple(classes.shape)}.")
    classes = leave_inference_mode(classes)
    head.check_targets(classes, logits)
    return classes


def _at_least_float(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
