"""How concentrated and how sharply drawn a map is; needs no ground truth."""

from typing import ClassVar

import torch
from torch import Tensor

from livecam.metrics.image_metric import ImageMetric, has_no_contrast

# Bins of values: so many octaves below a map's maximum, each cut into 64 by the bits of float32 from here on.
_OCTAVES, _SHIFT = 40, 17


def gini(energy: Tensor) -> Tensor:
    """Gini index of each map ``(N, H, W)`` >= 0: 0 for uniform energy, 1 - 1/(HW) for a single pixel; ``(N,)``.

    sum_i (2 r_i - n - 1) x_i / (n sum x) with r_i the rank of x_i. Ranks come from a histogram instead of a sort, which
    takes several times as long: between bins they are exact, and within a bin the sum follows from the
    values' number and variance as if they were evenly spaced. Within 1e-5 of sorting.
    """
    flat = energy.flatten(1)
    images, size = flat.shape
    bins = _OCTAVES << (23 - _SHIFT)
    # From the maximum downwards; in place, because new memory costs a CPU more than the arithmetic.
    place = flat.float().abs().view(torch.int32)
    place = place.sub_(place.amax(1, keepdim=True)).neg_().bitwise_right_shift_(_SHIFT).clamp_(max=bins - 1).long()

    def total(values: Tensor) -> Tensor:
        return values.new_zeros(images, bins).scatter_add_(1, place, values)

    values = flat.to(torch.float64, copy=True)
    count, sums = total(values.new_ones(()).expand_as(values)), total(values)
    squares = total(values.square_())
    mean = sums / count.clamp(min=1)
    variance = (squares / count.clamp(min=1) - mean.square()).clamp(min=0)
    between = (size - 2 * count.cumsum(1) + count) * sums
    within = 2 * count * ((count.square() - 1).clamp(min=0) / 12 * variance).sqrt()
    return (between + within).sum(1) / (size * sums.sum(1))


def hoyer(energy: Tensor) -> Tensor:
    """Hoyer sparsity of each map ``(N, H, W)`` >= 0: 0 for uniform energy, 1 for a single pixel; ``(N,)``."""
    flat = energy.flatten(1).double()
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
        edges = (scaled.diff(dim=1).abs_().mean((1, 2)) + scaled.diff(dim=2).abs_().mean((1, 2))) / 2
        area = (scaled > 0.5).sum((1, 2), dtype=torch.float32).double() / scaled.shape[1:].numel()
        values = torch.stack([gini(maps), hoyer(maps), area, edges.double()])
        return values.masked_fill(has_no_contrast(maps), torch.nan)
