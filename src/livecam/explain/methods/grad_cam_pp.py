"""Grad-CAM++, and the weight alpha of a position that its smoothed version shares."""

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from livecam.explain.methods.cam import LayerExplainer
from livecam.explain.recording.channel_stats import Channels, once, weighted_sum
from livecam.explain.recording.recording import Recording


def plus_plus_alpha(channels: Channels, slope: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Weight of each position, alpha = D2 / (2 D2 + sum(A) D3), in the cancelled form 1 / (2 + sum(A) D3/D2).

    The textbook form with an epsilon is ruined where gradients are small, as at full resolution.

    Args:
        channels: Statistics of A.
        slope: D3/D2; without noise that is the gradient g. ``(N, K, h, w)``, or ``(N, K, 1, 1)`` where all positions
            have the same.
        counted: Positions that may weigh anything, of the shape of ``slope``; alpha is 0 elsewhere.

    Returns:
        alpha, of the shape of ``slope``, and per image ``(N,)`` how many positions it left out because their
        denominator vanishes, which only negative activations or noise can cause.
    """
    if bool((channels.low < 0).any()):
        warnings.warn(
            "Grad-CAM++ is defined for activations >= 0, but this layer has negative ones: name the layer after "
            "its ReLU, or pass post_relu=True where the ReLU is in-place.",
            stacklevel=3,
        )
    # In place, because at full resolution new memory costs a CPU more than the arithmetic.
    denominator = (slope * (channels.positions * channels.mean[:, :, None, None])).add_(2)
    singular = (denominator <= 1e-3).logical_and_(counted)
    alpha = denominator.reciprocal_().masked_fill_(singular | ~counted, 0)
    return alpha, singular.sum((1, 2, 3)) * (channels.positions // slope.shape[2:].numel())


@dataclass(frozen=True)
class GradCAMPlusPlus(LayerExplainer):
    """Grad-CAM++ (Chattopadhay et al. 2018): w_k = sum_ij alpha relu(g), alpha = g^2 / (2 g^2 + sum(A) g^3).

    Costs one forward and one backward, shared with all methods of the call. ``details`` counts the positions whose
    denominator vanishes (``singular``).

    Args:
        layer: See :class:`LayerExplainer`.
        post_relu: See :class:`LayerExplainer`.
        normalise_alpha: Divide alpha by its sum over the channel's positive positions, as the authors' code does and
            their equations do not.
        name: See :class:`Explainer`.
    """

    method: ClassVar[str] = "gradcam_pp"
    label: ClassVar[str] = "Grad-CAM++"
    one_pass: ClassVar[bool] = True

    normalise_alpha: bool = False

    def explain(self, recording: Recording) -> tuple[Tensor, dict[str, Any]]:
        channels, gradients = self.channels(recording), once(self.gradients(recording))
        alpha, singular = plus_plus_alpha(channels, gradients, gradients > 0)
        # Sums over positions as means, since all may have the same gradient.
        if self.normalise_alpha:
            total = alpha.mean((2, 3), keepdim=True) * channels.positions
            alpha = alpha / total.masked_fill(total == 0, 1)
        # alpha is 0 where g is not positive.
        weights = alpha.mul_(gradients).mean((2, 3)) * channels.positions
        return weighted_sum(weights, self.activations(recording)).relu(), {"singular": singular}
