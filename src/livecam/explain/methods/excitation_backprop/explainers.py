"""Excitation Backprop and its contrastive form: which units win a top-down competition for the class."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from livecam.core.errors import UnsupportedNetworkError
from livecam.explain.explainer import Explainer
from livecam.explain.methods.excitation_backprop.function_mode import ExcitationMode, Residual
from livecam.explain.methods.excitation_backprop.rules import contrast, mark_last
from livecam.explain.recording.hooks import ActivationHook, Capture
from livecam.explain.recording.network_structure import Structure
from livecam.explain.recording.recording import Recording, forward


@dataclass(frozen=True)
class ExcitationBackpropBase(Explainer):
    """A method that passes winning probabilities from the class's logit down to one layer (Zhang et al. 2016).

    Works wherever activations are at least zero above the layer: through convolutions, linear layers, pools, batch norm
    (folded into the convolution before it), sums, concatenations, gates and resizing, modules and functions alike.
    What one convolution hands to the next without an activation in between counts by its positive part.

    ``details``: ``mass`` ``(N,)``, the probability that reaches the layer: 1, unless units without any positive input
    lose some, or some passes beside the layer.

    Args:
        layer: Where the map is read; None takes the last layer that all evidence passes and that is finer than the
            default layer (``layer3`` of ResNets, ``features.22`` of VGG-16), or in networks as fine as their image, as
            U-Nets, the first feature map. ``image`` goes on down to the pixels, which are shifted to be at least 0.
        residual: How sums split probability: by the positive parts of the branches (``relu``), or by their values
            (``signed``, as Caffe and TorchRay do).
        clamp_negative: Read negative activations as zero instead of refusing the network; where nothing positive is
            left all inputs count alike. The probability reading is then an approximation.
        name: See :class:`Explainer`.

    Raises:
        UnsupportedNetworkError: When explaining, where the network has signed activations, attention, or another
            operation without a rule.
    """

    layer: str | None = None
    residual: Residual = "relu"
    clamp_negative: bool = False

    def captures(self, structure: Structure) -> list[Capture]:
        if self.layer == "image":
            return []
        return [Capture(structure.resolve(self.layer or structure.excitation_layer))]

    @abstractmethod
    def propagate(self, run: "_Pass") -> tuple[Tensor, dict[str, Any]]:
        """What arrives at the layer, ``(N, C, h, w)``, and further details."""

    def explain(self, recording: Recording) -> tuple[Tensor, dict[str, Any]]:
        probability, details = self.propagate(_Pass(self, recording, self.hooks(recording)))
        # Sums over positions need more digits than half-precision networks have.
        return self.shown(probability.to(torch.promote_types(probability.dtype, torch.float32)), details)

    def hooks(self, recording: Recording) -> list[ActivationHook]:
        """The layers to stop at, the lowest first."""
        captures = self.captures(recording.structure)
        return [ActivationHook(recording.layer(c.layer), Capture(c.layer, gradient=True)) for c in captures]

    def shown(self, probability: Tensor, details: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """The map ``(N, h, w)`` of what has arrived."""
        mass = probability.sum((1, 2, 3))
        least = float(mass.min())
        note = {"note": f"from {least:.0%} of the evidence"} if least < 0.99 else {}
        return probability.sum(1), {"mass": mass} | note | details


class _Pass:
    """One forward whose operations know how to pass probability down, and the way down to its layers."""

    def __init__(self, explainer: ExcitationBackpropBase, recording: Recording, hooks: list[ActivationHook]) -> None:
        image = recording.images.detach().requires_grad_(True) if explainer.layer == "image" else None
        names = {id(p): name for name, p in recording.model.named_parameters()}
        self.mode = ExcitationMode(explainer.residual, explainer.clamp_negative, names, image)
        with self.mode:
            logits = forward(recording.model, recording.images if image is None else image, hooks, image is not None)
        self.layers = [hook.tensor for hook in hooks]
        self.layers = [image, *self.layers] if image is not None else self.layers
        with torch.enable_grad():
            self.score = recording.head.score(logits, recording.targets).sum()
        mark_last(self.score)

    def down_to(self, layer: Tensor, top: str = "plain", start: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Pass probability from the logits, or from what ``start`` (layer, probability) holds, to ``layer``."""
        self.mode.top = top
        source, start_probability = (self.score, None) if start is None else start
        if not source.requires_grad:
            raise UnsupportedNetworkError(
                "No evidence passes the chosen layer: the network runs under torch.no_grad() there. "
                "Freeze its parameters with requires_grad_(False) instead."
            )
        if source is layer:
            return start_probability
        probability = torch.autograd.grad(source, layer, start_probability, retain_graph=True, allow_unused=True)[0]
        if probability is None:
            below = "lies above contrast_layer" if start else "does not feed the class score"
            raise UnsupportedNetworkError(f"The chosen layer {below}: choose another.")
        return probability


@dataclass(frozen=True)
class ExcitationBackprop(ExcitationBackpropBase):
    """Excitation Backprop (Zhang et al. 2016, eq. 10): the probability that a position wins the top-down competition.

    Sums to 1 where nothing is lost. Costs one forward, and above the layer one more forward and one backward.
    """

    method: ClassVar[str] = "excitation_backprop"
    label: ClassVar[str] = "Excitation backprop"

    def propagate(self, run: _Pass) -> tuple[Tensor, dict[str, Any]]:
        probability = run.down_to(run.layers[0])
        if self.residual == "relu" and float(probability.sum((1, 2, 3)).max()) > 1.01:
            raise UnsupportedNetworkError(
                "More probability arrived than was sent: this network computes something that torch does not show, "
                "such as scripted modules. Use another method."
            )
        return probability, {}


@dataclass(frozen=True)
class ContrastiveExcitationBackprop(ExcitationBackpropBase):
    """Contrastive Excitation Backprop (Zhang et al. 2016, section 3.3): evidence for the class and not for its rivals.

    The probability of the class minus that of its dual unit, whose weights are negated, from the contrast layer down;
    rectified at the end only. Costs one forward, and above the layer one more forward and one backward; with
    ``contrast_layer`` those above it twice.

    ``details``: ``unclamped`` ``(N, h, w)``, which sums to zero where nothing is lost; ``without_rival`` ``(N,)`` bool,
    where the dual unit has no excitation and counts as zero.

    Args:
        contrast_layer: Where the difference is taken; None takes the input of the last layer with weights. As the rule
            is linear this matters only where probability gets lost.
        normalize_contrast: Divide both by their sums there, so that the difference sums to zero.
        name: See :class:`Explainer`.
    """

    method: ClassVar[str] = "contrastive_excitation_backprop"
    label: ClassVar[str] = "Contrastive EB"

    contrast_layer: str | None = None
    normalize_contrast: bool = True

    def hooks(self, recording: Recording) -> list[ActivationHook]:
        hooks = super().hooks(recording)
        if self.contrast_layer is None:
            return hooks
        name = recording.structure.resolve(self.contrast_layer)
        # The difference may be taken at the very layer that is shown.
        same = any(hook.capture.layer == name for hook in hooks)
        return hooks if same else [*hooks, ActivationHook(recording.layer(name), Capture(name, gradient=True))]

    def shown(self, probability: Tensor, details: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        maps = probability.sum(1)
        return maps.relu(), {"unclamped": maps} | details

    def propagate(self, run: _Pass) -> tuple[Tensor, dict[str, Any]]:
        if self.contrast_layer is None:
            run.mode.normalize = self.normalize_contrast
            probability = run.down_to(run.layers[0], "contrast")
            return probability, {"without_rival": run.mode.without_rival}
        above = run.layers[-1]
        both = (run.down_to(above, "plain"), run.down_to(above, "negated"))
        difference, empty = contrast(*both, self.normalize_contrast)
        return run.down_to(run.layers[0], start=(above, difference)), {"without_rival": empty}
