"""How concentrated and how sharply drawn a map is; needs no ground truth."""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from livecam.core.maps import is_degenerate
from livecam.metrics.image_metric import ImageMetric
from livecam.runtime.memory import few_rows

# Bins of values: so many octaves below a map's maximum, each cut into 64 by the bits of float32 from here on.
_OCTAVES, _SHIFT = 40, 17


def gini(energy: Tensor) -> Tensor:
    """Gini index of each map ``(N, H, W)`` >= 0: 0 for uniform energy, 1 - 1/(HW) for a single pixel; ``(N,)``.

    sum_i (2 r_i - n - 1) x_i / (n sum x) with r_i the rank of x_i; within 1e-5.
    """
    return _Histogram.of(energy).gini()


def hoyer(energy: Tensor) -> Tensor:
    """Hoyer sparsity of each map ``(N, H, W)`` >= 0: 0 for uniform energy, 1 for a single pixel; ``(N,)``."""
    return _Histogram.of(energy).hoyer()


class _Histogram(NamedTuple):
    """Number, sum and sum of squares of the values in each bin, each ``(N, bins)`` float64, from high to low values.

    It takes the place of sorting, which takes several times as long. Between bins ranks are exact, and within a bin
    values are taken as evenly spaced, as their number and variance tell.
    """

    count: Tensor
    sums: Tensor
    squares: Tensor

    @classmethod
    def of(cls, energy: Tensor) -> "_Histogram":
        """Fill the bins of each map ``(N, H, W)``."""
        flat = energy.flatten(1)
        bins = _OCTAVES << (23 - _SHIFT)
        # From the maximum downwards; in place, because new memory costs a CPU more than the arithmetic.
        place = flat.float().abs().view(torch.int32)
        place = place.sub_(place.amax(1, keepdim=True)).neg_().bitwise_right_shift_(_SHIFT).clamp_(max=bins - 1).long()

        def total(values: Tensor) -> Tensor:
            return values.new_zeros(len(flat), bins).scatter_add_(1, place, values)

        values = flat.to(torch.float64, copy=True)
        return cls(total(values.new_ones(()).expand_as(values)), total(values), total(values.square_()))

    def gini(self) -> Tensor:
        size, counts = self.count.sum(1, keepdim=True), self.count.clamp(min=1)
        variance = (self.squares / counts - (self.sums / counts).square()).clamp(min=0)
        between = (size - 2 * self.count.cumsum(1) + self.count) * self.sums
        within = 2 * self.count * ((self.count.square() - 1).clamp(min=0) / 12 * variance).sqrt()
        return (between + within).sum(1) / (size[:, 0] * self.sums.sum(1))

    def hoyer(self) -> Tensor:
        root = self.count.sum(1).sqrt()
        return (root - self.sums.sum(1) / self.squares.sum(1).sqrt()) / (root - 1)


class Sharpness(ImageMetric):
    """Mean concentration of maps.

    Parts: ``sharpness`` (headline: Gini index), ``hoyer``, ``area`` (share of pixels above half the maximum),
    ``edges`` (mean absolute difference of neighboring pixels after scaling the maximum to 1).
    """

    name: ClassVar[str] = "sharpness"
    value_names: tuple[str, ...] = ("sharpness", "hoyer", "area", "edges")
    table_columns: ClassVar[tuple[str, ...]] = ("hoyer", "area", "edges")

    def per_image(self, maps: Tensor) -> Tensor:
        """Values ``(values, N)`` of maps ``(N, H, W)`` >= 0; undefined where a map has no contrast."""
        return torch.cat([self._measure(few) for (few,) in few_rows(maps)], 1)

    def _measure(self, maps: Tensor) -> Tensor:
        high = maps.flatten(1).amax(1)
        edges = (maps.diff(dim=1).abs_().mean((1, 2)) + maps.diff(dim=2).abs_().mean((1, 2))) / (2 * high)
        area = (maps > high[:, None, None] / 2).sum((1, 2)) / maps.shape[1:].numel()
        histogram = _Histogram.of(maps)
        values = torch.stack([histogram.gini(), histogram.hoyer(), area.double(), edges.double()])
        return values.masked_fill(is_degenerate(maps), torch.nan)
