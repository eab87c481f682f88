"""How concentrated and how sharply drawn a map is; needs no ground truth."""

from typing import ClassVar

import torch
from torch import Tensor

from livecam.metrics.image_metric import ImageMetric, has_no_contrast


def gini(energy: Tensor) -> Tensor:
    """Gini index of each map ``(N, H, W)`` >= 0: 0 for uniform energy, 1 - 1/(HW) for a single pixel; ``(N,)``."""
    flat = energy.flatten(1).double().sort(1).values
    size = flat.shape[1]
    rank = torch.arange(1, size + 1, device=flat.device, dtype=flat.dtype)
    return ((2 * rank - size - 1) * flat).sum(1) / (size * flat.sum(1))


def hoyer(energy: Tensor) -> Tensor:
    """Hoyer sparsity of each map ``(N, H, W)`` >= 0: 0 for uniform energy, 1 for a single pixel; ``(N,)``."""
    flat = energy.flatten(1).double()
    flat = flat / flat.amax(1, keepdim=True)
    root = flat.shape[1] ** 0.5
    return (root - flat.sum(1) / flat.norm(dim=1)) / (root - 1)


class Sharpness(ImageMetric):
    """Mean concentration of maps.

    Parts: ``sharpness`` (headline: Gini index), ``hoyer``, ``area`` (share of pixels above half the maximum),
    ``edges`` (mean absolute difference of neighbouring pixels after scaling the maximum to 1).
    """

    name: ClassVar[str] = "sharpness"
    parts: tuple[str, ...] = ("sharpness", "hoyer", "area", "edges")
    shown: ClassVar[tuple[str, ...]] = ("hoyer", "area", "edges")

    def measure(self, maps: Tensor) -> Tensor:
        """Values ``(parts, N)`` of maps ``(N, H, W)`` >= 0; undefined where a map has no contrast."""
        scaled = maps / maps.flatten(1).amax(1)[:, None, None]
        edges = (scaled.diff(dim=1).abs().mean((1, 2)) + scaled.diff(dim=2).abs().mean((1, 2))) / 2
        area = (scaled > 0.5).double().mean((1, 2))
        values = torch.stack([gini(maps), hoyer(maps), area, edges.double()])
        return values.masked_fill(has_no_contrast(maps), torch.nan)
