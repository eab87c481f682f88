"""How well a map outlines the object: intersection over union, and average precision of its ranking of pixels."""

from typing import ClassVar

import torch
from torch import Tensor

from livecam.metrics.image_metric import ImageMetric, check_same_size
from livecam.metrics.localization import object_mask


def iou(selected: Tensor, masks: Tensor) -> Tensor:
    """Intersection over union of two bool masks ``(N, H, W)``, ``(N,)`` in [0, 1]; NaN where both are empty."""
    return (selected & masks).sum((1, 2)).double() / (selected | masks).sum((1, 2))


def thresholded(maps: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What every value of a map selects as a threshold; pixels of equal value come together.

    Args:
        maps: Maps ``(N, H, W)`` of any scale.
        masks: Masks ``(N, H, W)`` bool.

    Returns:
        Three tensors ``(N, HW)``, for the pixels by rising value: how many pixels are at least as high, how many of
        those lie in the mask, and whether the pixel itself does.
    """
    values, order = maps.flatten(1).sort(1)
    inside = masks.flatten(1).gather(1, order)
    from_here_up = inside.long().flip(1).cumsum(1).flip(1)
    first_equal = torch.searchsorted(values, values)
    return values.shape[1] - first_equal, from_here_up.gather(1, first_equal), inside


def best_iou(maps: Tensor, masks: Tensor) -> Tensor:
    """Highest IoU that any threshold of a map ``(N, H, W)`` reaches with its mask, ``(N,)``; NaN for an empty mask.

    The threshold is chosen by the ground truth, image by image: an optimistic figure, never below that of selecting
    the whole image.
    """
    selected, right, inside = thresholded(maps, masks)
    size = inside.sum(1)
    best = (right.double() / (selected + size[:, None] - right)).amax(1)
    return best.masked_fill(size == 0, torch.nan)


def average_precision(maps: Tensor, masks: Tensor) -> Tensor:
    """Average precision of a map's ranking of pixels: the sum over thresholds of precision times the gain in recall.

    Equal values share one threshold, as in scikit-learn and torchmetrics (which would squash values outside [0, 1]).

    Args:
        maps: Maps ``(N, H, W)`` of any scale.
        masks: Masks ``(N, H, W)`` bool.

    Returns:
        ``(N,)`` in (0, 1]; NaN for an empty mask; the mask's share of the image for a constant map.
    """
    selected, right, inside = thresholded(maps, masks)
    return (inside * right.double() / selected).sum(1) / inside.sum(1)


class MaskOverlap(ImageMetric):
    """Mean overlap of thresholded maps with the annotated object. An image with an empty mask is undefined.

    Parts: ``overlap`` (headline: IoU at 0.5 of the maximum), ``iou_15`` (at 0.15, where boxes are commonly cut out of
    Grad-CAM), ``best`` (at the best threshold of each image: optimistic, since the ground truth chooses it),
    ``average_precision``, ``chance`` (the mask's share of the image: the IoU of the whole image, and what the average
    precision of a random ranking tends to with many pixels).
    """

    name: ClassVar[str] = "overlap"
    inputs: ClassVar[frozenset[str]] = frozenset({"maps", "masks"})
    uses: ClassVar[str] = "map"
    value_names: tuple[str, ...] = ("overlap", "iou_15", "best", "average_precision", "chance")
    table_columns: ClassVar[tuple[str, ...]] = ("best", "average_precision", "chance")

    def per_image(self, maps: Tensor, masks: Tensor) -> Tensor:
        """Values ``(values, N)`` of maps ``(N, H, W)`` in [0, 1] and masks ``(N, H, W)``, bool or in [0, 1] (>= 0.5).

        Raises:
            ValueError: When the shapes differ.
        """
        check_same_size(maps, masks)
        masks = object_mask(masks)
        values = [iou(maps >= 0.5, masks), iou(maps >= 0.15, masks), best_iou(maps, masks)]
        values += [average_precision(maps, masks), masks.double().mean((1, 2))]
        return torch.stack(values).masked_fill(~masks.flatten(1).any(1), torch.nan)
