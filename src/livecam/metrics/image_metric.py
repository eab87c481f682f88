"""Means over images that add up across batches and ranks."""

from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric


class ImageMetric(Metric):
    """A metric that has one value per image and reports means with their counts.

    Images whose headline cannot be defined (NaN) are counted, never averaged in or dropped silently; maps without
    contrast are counted too. A further part may be undefined for more images and then averages over fewer. Sums are
    float64, so that ranks and batches may be added in any order.

    Sub-classes name their per-image values in ``parts`` (the headline first) and feed :meth:`add`.
    """

    name: ClassVar[str]
    """Metric key: ``val/<name>/<method>`` for the headline, ``val/<name>_<part>/<method>`` for the others."""
    uses: ClassVar[str] = "energy"
    """Which map of an Explanation ``update`` wants: ``energy``, ``map`` or ``raw``."""
    compares_with: ClassVar[str | None] = None
    """What ``update`` takes beside the maps: annotated ``mask``, another network's ``reference`` map, or nothing."""
    parts: ClassVar[tuple[str, ...]]

    full_state_update = False
    higher_is_better = True

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(len(self.parts), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("defined", torch.zeros(len(self.parts), dtype=torch.long), dist_reduce_fx="sum")
        for count in ("undefined", "degenerate"):
            self.add_state(count, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def add(self, values: Tensor, maps: Tensor) -> None:
        """Add per-image values ``(parts, N)`` of maps ``(N, H, W)``; an image is undefined where its headline is."""
        defined = values.isfinite() & values[0].isfinite()
        self.sums += values.double().masked_fill(~defined, 0).sum(1)
        self.defined += defined.sum(1)
        self.undefined += (~defined[0]).sum()
        self.degenerate += has_no_contrast(maps).sum()

    def means(self) -> dict[str, Tensor]:
        """Mean of each part over the images for which it is defined; NaN when there is none."""
        return dict(zip(self.parts, self.sums / self.defined))

    def compute(self) -> dict[str, Tensor]:
        """Headline first, then the other parts and the counts ``n``, ``undefined``, ``degenerate``."""
        return self.means() | self.counts()

    def counts(self) -> dict[str, Tensor]:
        """How many images were averaged, had no defined value, had a map without contrast."""
        return {"n": self.defined[0], "undefined": self.undefined, "degenerate": self.degenerate}


def has_no_contrast(maps: Tensor) -> Tensor:
    """Which maps ``(N, H, W)`` are constant up to rounding, ``(N,)`` bool."""
    low, high = maps.flatten(1).aminmax(dim=1)
    return high - low <= 1e-5 * torch.maximum(high.abs(), low.abs())


def check_same_size(maps: Tensor, masks: Tensor) -> None:
    """Refuse masks of another size than the maps.

    Raises:
        ValueError: With both shapes.
    """
    if maps.shape != masks.shape:
        raise ValueError(
            f"Maps {tuple(maps.shape)} and masks {tuple(masks.shape)} differ in shape: resize the masks to the images "
            "(nearest neighbour) where the data are made."
        )
