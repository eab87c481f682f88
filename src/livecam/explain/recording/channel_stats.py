"""What several methods ask of a layer's channels, found once; and products with gradients of either shape.

Behind global pooling and a linear layer, the gradient g of a class score is the same at every position. It then comes
as a view that repeats one number per channel, and what is made of it need not repeat the work.
"""

from functools import cached_property

import torch
from torch import Tensor


class Channels:
    """Statistics of each channel of activations ``(N, K, h, w)``, each ``(N, K)`` and found when first asked for."""

    def __init__(self, activations: Tensor) -> None:
        self._activations = activations
        self.positions = activations.shape[2:].numel()
        """Number of positions Z = h w."""

    @cached_property
    def mean(self) -> Tensor:
        """Mean over positions."""
        return self._activations.mean((2, 3))

    @cached_property
    def low(self) -> Tensor:
        """Least value."""
        return self._activations.amin((2, 3))

    @cached_property
    def high(self) -> Tensor:
        """Greatest value."""
        return self._activations.amax((2, 3))


def squeeze_constant(gradients: Tensor) -> Tensor:
    """Gradients that repeat one number per channel as ``(N, K, 1, 1)``, others ``(N, K, h, w)`` as they are."""
    return gradients[:, :, :1, :1] if gradients.stride()[2:] == (0, 0) else gradients


def spatial_mean_product(gradients: Tensor, activations: Tensor, mean: Tensor) -> Tensor:
    """Mean over positions of g A, ``(N, K)``.

    Args:
        gradients: g, as :func:`squeeze_constant` gives them.
        activations: A ``(N, K, h, w)``.
        mean: Mean over positions of A ``(N, K)``.
    """
    if gradients.shape[2:] != activations.shape[2:]:
        return gradients[:, :, 0, 0] * mean
    return (gradients * activations).mean((2, 3))


def channel_sum_product(gradients: Tensor, activations: Tensor) -> Tensor:
    """Sum over channels of g A, ``(N, h, w)``; arguments as above."""
    if gradients.shape[2:] != activations.shape[2:]:
        return weighted_sum(gradients[:, :, 0, 0], activations)
    return (gradients * activations).sum(1)


def weighted_sum(weights: Tensor, activations: Tensor) -> Tensor:
    """sum_k w_k A_k: weights ``(N, K)`` and activations ``(N, K, h, w)`` give maps ``(N, h, w)``."""
    return torch.einsum("nk,nkhw->nhw", weights, activations)
