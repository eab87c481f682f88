"""What several methods ask of a layer's channels, found once; and products with gradients of either shape.

Behind global pooling and a linear layer, the gradient g of a class score is the same at every position. It then comes
as a view that repeats one number per channel, and what is made of it need not repeat the work.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Channels:
    """Mean, least and greatest activation of each channel, ``(N, K)`` each."""

    mean: Tensor
    low: Tensor
    high: Tensor


def channels(activations: Tensor) -> Channels:
    """Statistics of activations ``(N, K, h, w)``."""
    low, high = activations.flatten(2).aminmax(dim=2)
    return Channels(activations.mean((2, 3)), low, high)


def once(gradients: Tensor) -> Tensor:
    """Gradients that repeat one number per channel as ``(N, K, 1, 1)``, others ``(N, K, h, w)`` as they are."""
    return gradients[:, :, :1, :1] if gradients.stride()[2:] == (0, 0) else gradients


def over_positions(gradients: Tensor, activations: Tensor, mean: Tensor) -> Tensor:
    """Mean over positions of g A, ``(N, K)``.

    Args:
        gradients: g, as :func:`once` gives them.
        activations: A ``(N, K, h, w)``.
        mean: Mean over positions of A ``(N, K)``.
    """
    if gradients.shape[2:] != activations.shape[2:]:
        return gradients[:, :, 0, 0] * mean
    return (gradients * activations).mean((2, 3))


def over_channels(gradients: Tensor, activations: Tensor) -> Tensor:
    """Sum over channels of g A, ``(N, h, w)``; arguments as above."""
    if gradients.shape[2:] != activations.shape[2:]:
        return weighted_sum(gradients[:, :, 0, 0], activations)
    return (gradients * activations).sum(1)


def weighted_sum(weights: Tensor, activations: Tensor) -> Tensor:
    """sum_k w_k A_k: weights ``(N, K)`` and activations ``(N, K, h, w)`` give maps ``(N, h, w)``."""
    return torch.einsum("nk,nkhw->nhw", weights, activations)
