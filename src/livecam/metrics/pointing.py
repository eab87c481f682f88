"""Pointing game: does the map's highest point lie on the object (Zhang et al. 2016)?"""

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from livecam.core.errors import OptionError
from livecam.core.validation import check_count, check_option
from livecam.metrics.image_metric import ImageMetric, check_same_size
from livecam.metrics.localization import object_mask


def peaks(maps: Tensor) -> Tensor:
    """Pixels that reach the maximum of maps ``(N, H, W)``, bool: saturated maps have whole regions of them."""
    return maps == maps.amax((1, 2), keepdim=True)


def first_peak(maps: Tensor) -> Tensor:
    """The first of the highest pixels of maps ``(N, H, W)`` in row-major order, bool with one True per map."""
    first = peaks(maps).flatten(1).int().argmax(1, keepdim=True)
    return torch.zeros_like(maps, dtype=torch.bool).flatten(1).scatter_(1, first, True).view_as(maps)


def dilate(masks: Tensor, tolerance: float) -> Tensor:
    """Pixels that have one of the mask nearer than ``tolerance`` px, strictly: distance^2 < tolerance^2, as TorchRay.

    Args:
        masks: Masks ``(N, H, W)`` bool.
        tolerance: Distance in pixels; up to 1 leaves the masks as they are, since pixels lie 1 apart.

    Returns:
        ``(N, H, W)`` bool.
    """
    reach = max(tolerance, 1)
    radius = math.ceil(reach) - 1
    line = torch.arange(-radius, radius + 1, dtype=torch.float64, device=masks.device)
    disc = (line.square()[:, None] + line.square() < reach**2).float()
    return F.conv2d(masks[:, None].float(), disc[None, None], padding=radius)[:, 0] > 0.5


class PointingGame(ImageMetric):
    """Share of hits, within each category first, then over the categories with any image.

    Classes that never occur do not count as failures, unlike in TorchRay. An empty mask is undefined. A map that is
    nowhere above 0 points nowhere, which is a miss (and degenerate).

    Parts: ``pointing`` (headline, in [0, 1]), ``chance`` (share of the image where a point is a hit, which is what a
    random point scores), ``ties`` (share of the image that reaches the map's maximum; undefined where the map points
    nowhere).

    Args:
        num_categories: Number of classes that ``categories`` may name.
        ties: Of several highest pixels, ``share`` counts the share that hits: what one of them scores on average.
            ``first`` takes the first in row-major order, as published codes do, which of a saturated region is its top.
        tolerance: A pixel hits when it is nearer than this to the mask, in pixels of the map: 0 asks for the mask
            itself, 15 is the original protocol, at the resolution of the photo.
        name: See :class:`ImageMetric`.

    Raises:
        OptionError: When an option is unknown.
    """

    name: ClassVar[str] = "pointing"
    inputs: ClassVar[frozenset[str]] = frozenset({"maps", "masks", "categories"})
    uses: ClassVar[str] = "map"
    value_names: tuple[str, ...] = ("pointing", "chance", "ties")
    table_columns: ClassVar[tuple[str, ...]] = ("chance",)
    in_percent: ClassVar[bool] = True

    def __init__(
        self,
        num_categories: int = 1000,
        ties: Literal["share", "first"] = "share",
        tolerance: float = 0,
        *,
        name: str | None = None,
    ) -> None:
        check_count("num_categories", num_categories)
        self.num_categories = num_categories
        super().__init__(name=name)
        check_option("ties", ties, ("share", "first"))
        if not 0 <= tolerance < math.inf:
            raise OptionError(f"tolerance is a distance in pixels from 0, such as 15; got {tolerance!r}.")
        self.ties, self.tolerance = ties, tolerance

    def per_image(self, maps: Tensor, masks: Tensor, categories: Tensor) -> Tensor:
        """Values ``(values, N)``.

        Args:
            maps: Maps ``(N, H, W)``, 0 where nothing is.
            masks: All of the category in the image ``(N, H, W)``: bool, or in [0, 1] (then >= 0.5).
            categories: LongTensor ``(N,)``, for the means only.

        Raises:
            OptionError: When maps and masks differ in shape.
        """
        check_same_size(maps, masks)
        masks = object_mask(masks)
        hit_area = dilate(masks, self.tolerance)
        highest = peaks(maps)
        pointed = highest if self.ties == "share" else first_peak(maps)
        nowhere = maps.amax((1, 2)) <= 0
        hit = ((pointed & hit_area).sum((1, 2)).double() / pointed.sum((1, 2))).masked_fill(nowhere, 0)
        hit = hit.masked_fill(~masks.flatten(1).any(1), torch.nan)
        ties = highest.double().mean((1, 2)).masked_fill(nowhere, torch.nan)
        return torch.stack([hit, hit_area.double().mean((1, 2)), ties])
