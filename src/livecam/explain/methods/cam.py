"""Class activation maps: channels of one layer, weighted and summed; one forward and one backward serve them all.

Notation of the papers: A ``(N, K, h, w)`` the layer's activations, g = dS_c/dA, w ``(N, K)`` one weight per channel.
"""

import warnings
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from livecam.core.errors import UnsupportedNetworkError
from livecam.explain.explainer import Explainer
from livecam.explain.recording.channel_stats import (
    Channels,
    channel_sum_product,
    spatial_mean_product,
    squeeze_constant,
    weighted_sum,
)
from livecam.explain.recording.hooks import Capture
from livecam.explain.recording.network_structure import Structure
from livecam.explain.recording.recording import Recording


@dataclass(frozen=True)
class LayerExplainer(Explainer):
    """A method that reads one layer.

    Args:
        layer: Full name or unique suffix; None takes the last feature map before global pooling.
        post_relu: Read the layer after the in-place ReLU that follows it; None does so for the default layer, named or
            not, where such a ReLU follows (DenseNet), and reads any other layer as it is.
        name: See :class:`Explainer`.
    """

    layer: str | None = None
    post_relu: bool | None = None

    gradient: ClassVar[bool] = True

    def capture(self, structure: Structure) -> Capture:
        """The one capture of this method."""
        layer = structure.resolve(self.layer)
        post_relu = self.post_relu
        if post_relu is None:
            post_relu = structure.post_relu and layer == structure.target_layer
        return Capture(layer, gradient=self.gradient, post_relu=post_relu)

    def captures(self, structure: Structure) -> list[Capture]:
        return [self.capture(structure)]

    def activations(self, recording: Recording) -> Tensor:
        """A: the layer's activations ``(N, K, h, w)``."""
        return recording.activations[self.capture(recording.structure)]

    def gradients(self, recording: Recording) -> Tensor:
        """g: gradient of the class score with respect to A, ``(N, K, h, w)``."""
        return recording.gradients[self.capture(recording.structure)]

    def channels(self, recording: Recording) -> Channels:
        """Statistics of A's channels, shared by all methods that read the layer."""
        return recording.channels(self.capture(recording.structure))


@dataclass(frozen=True)
class CAM(LayerExplainer):
    """CAM (Zhou et al. 2016): sum_k w_k A_k with the weights of the final linear layer.

    Signed and not rectified: its mean over positions plus the bias is the class score. Costs one forward.

    Raises:
        UnsupportedNetworkError: When the network does not end in global average pooling and one linear layer.
    """

    method: ClassVar[str] = "cam"
    label: ClassVar[str] = "CAM"
    single_pass: ClassVar[bool] = True
    gradient: ClassVar[bool] = False

    def captures(self, structure: Structure) -> list[Capture]:
        capture = self.capture(structure)
        if structure.linear is None or capture.layer != structure.target_layer:
            where = "this network's classifier is built otherwise"
            if structure.linear is not None:
                where = f"in this network that reads {structure.target_layer!r}, not {capture.layer!r}"
            raise UnsupportedNetworkError(
                f"CAM needs a head of global average pooling and one linear layer (GAP+linear): {where}. "
                "Use Grad-CAM, which needs no special head."
            )
        return [capture]

    def explain(self, recording: Recording) -> Tensor:
        linear = recording.layer(recording.structure.linear)
        activations = self.activations(recording)
        weights = recording.head.class_weights(linear.weight.detach().to(activations.dtype), recording.targets)
        return weighted_sum(weights, activations)


@dataclass(frozen=True)
class WeightedCAM(LayerExplainer):
    """A method of the form L = relu(sum_k w_k A_k)."""

    single_pass: ClassVar[bool] = True

    @abstractmethod
    def weights(self, activations: Tensor, gradients: Tensor, stats: Channels | None = None) -> Tensor:
        """Channel weights ``(N, K)``.

        Args:
            activations: A ``(N, K, h, w)``.
            gradients: g ``(N, K, h, w)``, or ``(N, K, 1, 1)`` where all positions have the same.
            stats: Statistics of A, where somebody has them already.
        """

    def explain(self, recording: Recording) -> Tensor:
        activations = self.activations(recording)
        weights = self.weights(activations, squeeze_constant(self.gradients(recording)), self.channels(recording))
        return weighted_sum(weights, activations).relu()


@dataclass(frozen=True)
class GradCAM(WeightedCAM):
    """Grad-CAM (Selvaraju et al. 2017): w_k is the mean gradient of channel k."""

    method: ClassVar[str] = "gradcam"
    label: ClassVar[str] = "Grad-CAM"

    def weights(self, activations: Tensor, gradients: Tensor, stats: Channels | None = None) -> Tensor:
        return gradients.mean((2, 3))


@dataclass(frozen=True)
class XGradCAM(WeightedCAM):
    """XGrad-CAM (Fu et al. 2020): w_k = sum g A / sum A; a channel whose sum is zero counts nothing."""

    method: ClassVar[str] = "xgradcam"
    label: ClassVar[str] = "XGrad-CAM"

    def weights(self, activations: Tensor, gradients: Tensor, stats: Channels | None = None) -> Tensor:
        stats = stats or Channels(activations)
        # Relative, so that the rule does not depend on the layer's scale.
        dead = stats.positions * stats.mean.abs() <= 1e-8 * torch.maximum(stats.high, -stats.low).amax(1, keepdim=True)
        product = spatial_mean_product(gradients, activations, stats.mean)
        return (product / stats.mean.masked_fill(dead, 1)).masked_fill(dead, 0)


@dataclass(frozen=True)
class WGradCAM(WeightedCAM):
    """WGradCAM (Zhang, Rao, Yang, eq. 2-4): w_k = mean of g A, gradient weighted by activation."""

    method: ClassVar[str] = "wgradcam"
    label: ClassVar[str] = "WGradCAM"

    def weights(self, activations: Tensor, gradients: Tensor, stats: Channels | None = None) -> Tensor:
        return spatial_mean_product(gradients, activations, (stats or Channels(activations)).mean)


@dataclass(frozen=True)
class LayerCAM(LayerExplainer):
    """LayerCAM (Jiang et al. 2021): L = relu(sum_k relu(g_k) A_k), a weight per position."""

    method: ClassVar[str] = "layercam"
    label: ClassVar[str] = "LayerCAM"
    single_pass: ClassVar[bool] = True

    def explain(self, recording: Recording) -> Tensor:
        gradients = squeeze_constant(self.gradients(recording))
        return channel_sum_product(gradients.relu(), self.activations(recording)).relu()


def plus_plus_alpha(channels: Channels, ratio: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Weight of each position, alpha = D2 / (2 D2 + sum(A) D3), in the canceled form 1 / (2 + sum(A) D3/D2).

    The textbook form with an epsilon is ruined where gradients are small, as at full resolution.

    Args:
        channels: Statistics of A.
        ratio: D3/D2; without noise that is the gradient g. ``(N, K, h, w)``, or ``(N, K, 1, 1)`` where all positions
            have the same.
        counted: Positions that may weigh anything, of the shape of ``ratio``; alpha is 0 elsewhere.

    Returns:
        alpha, of the shape of ``ratio``, and per image ``(N,)`` how many positions it left out because their
        denominator vanishes, which only negative activations or noise can cause.
    """
    if bool((channels.low < 0).any()):
        warnings.warn(
            "Grad-CAM++ is defined for activations >= 0, but this layer has negative ones: name the layer after "
            "its ReLU, or pass post_relu=True where the ReLU is in-place.",
            stacklevel=3,
        )
    # In place, because at full resolution new memory costs a CPU more than the arithmetic.
    denominator = (ratio * (channels.positions * channels.mean[:, :, None, None])).add_(2)
    singular = (denominator <= 1e-3).logical_and_(counted)
    alpha = denominator.reciprocal_().masked_fill_(singular | ~counted, 0)
    return alpha, singular.sum((1, 2, 3)) * (channels.positions // ratio.shape[2:].numel())


@dataclass(frozen=True)
class GradCAMPlusPlus(LayerExplainer):
    """Grad-CAM++ (Chattopadhay et al. 2018): w_k = sum_ij alpha relu(g), alpha = g^2 / (2 g^2 + sum(A) g^3).

    Costs one forward and one backward, shared with all methods of the call. ``details`` counts the positions whose
    denominator vanishes (``singular``).

    Args:
        layer: See :class:`LayerExplainer`.
        post_relu: See :class:`LayerExplainer`.
        normalize_alpha: Divide alpha by its sum over the channel's positive positions, as the authors' code does and
            their equations do not.
        name: See :class:`Explainer`.
    """

    method: ClassVar[str] = "gradcam_pp"
    label: ClassVar[str] = "Grad-CAM++"
    single_pass: ClassVar[bool] = True

    normalize_alpha: bool = False

    def explain(self, recording: Recording) -> tuple[Tensor, dict[str, Any]]:
        channels, gradients = self.channels(recording), squeeze_constant(self.gradients(recording))
        alpha, singular = plus_plus_alpha(channels, gradients, gradients > 0)
        # Sums over positions as means, since all may have the same gradient.
        if self.normalize_alpha:
            total = alpha.mean((2, 3), keepdim=True) * channels.positions
            alpha = alpha / total.masked_fill(total == 0, 1)
        # alpha is 0 where g is not positive.
        weights = alpha.mul_(gradients).mean((2, 3)) * channels.positions
        return weighted_sum(weights, self.activations(recording)).relu(), {"singular": singular}
