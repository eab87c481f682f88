"""Localization score: the share of a map's energy that lies inside the object (Mascolini et al. 2022)."""

from typing import ClassVar

import torch
from torch import Tensor

from livecam.core.errors import OptionError
from livecam.metrics.image_metric import ImageMetric, check_same_size
from livecam.runtime.memory import few_rows

REFERENCE_THRESHOLDS = tuple(round(0.1 * step, 1) for step in range(1, 10))


def object_mask(masks: Tensor, threshold: float = 0.5) -> Tensor:
    """Ground truth as bool: bool masks as they are, maps in [0, 1] where they reach the threshold."""
    return masks if masks.dtype == torch.bool else masks >= threshold


def localization_score(energy: Tensor, mask: Tensor) -> Tensor:
    """Share of each map's energy inside the mask: s = sum(A M) / sum(A).

    Args:
        energy: Maps A ``(N, H, W)`` >= 0; not shifted by their minimum, which would change s.
        mask: Ground truth M ``(N, H, W)`` bool.

    Returns:
        ``(N,)`` in [0, 1]; NaN where the map is zero everywhere or the mask is empty. A uniform map scores the mask's
        share of the image, which is the chance level.

    Raises:
        OptionError: When the shapes differ.
    """
    inside, total, covered = _sums(energy, mask)
    return (inside / total).masked_fill(covered == 0, torch.nan)


def _sums(energy: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Energy inside the mask, all energy, and pixels of the mask, each ``(N,)``."""
    check_same_size(energy, mask)
    inside, total, covered = zip(*(_sums_of(values, weights) for values, weights in few_rows(energy, mask)))
    return torch.cat(inside), torch.cat(total), torch.cat(covered)


def _sums_of(energy: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # In float64: of energies of 1e-5 per pixel, 50,000 pixels would leave few digits otherwise.
    values, weights = energy.flatten(1).double(), mask.flatten(1).double()
    total, covered = values.sum(1), weights.sum(1)
    # In place, because new memory costs a CPU more than the products.
    return weights.mul_(values).sum(1), total, covered


class LocalizationScore(ImageMetric):
    """Mean localization score against bool ground truth, with its chance level and lift.

    Parts: ``localization`` (headline, rectified energy), ``chance`` (mean share of the image that the mask covers),
    ``minmax`` (the same score after subtracting each map's minimum; the paper does not say which it used),
    ``lift`` = localization / chance, ``minmax_lift``. A lift of 1 is what a uniform map gets.
    """

    name: ClassVar[str] = "localization"
    inputs: ClassVar[frozenset[str]] = frozenset({"maps", "masks"})
    value_names: tuple[str, ...] = ("localization", "chance", "minmax")
    table_columns: ClassVar[tuple[str, ...]] = ("chance", "lift", "minmax")

    def per_image(self, maps: Tensor, masks: Tensor) -> Tensor:
        """Values ``(values, N)`` of maps ``(N, H, W)`` >= 0 in masks ``(N, H, W)``, bool or in [0, 1] (then >= 0.5)."""
        inside, total, covered = _sums(maps, object_mask(masks))
        flat = maps.flatten(1)
        low, high, size = flat.amin(1), flat.amax(1), flat.shape[1]
        score, chance = (inside / total).masked_fill(covered == 0, torch.nan), covered / size
        shifted = (inside - low * covered) / (total - low.double() * size)
        # A constant map is uniform energy: shifting it leaves nothing, and what it stands for scores chance.
        return torch.stack([score, chance, torch.where((high == low) | shifted.isnan(), chance, shifted)])

    def aggregate(self, sums: Tensor, defined: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
        """Means of the parts, and lifts."""
        means = super().aggregate(sums, defined, weights)
        lifts = {"lift": means["localization"] / means["chance"], "minmax_lift": means["minmax"] / means["chance"]}
        return means | lifts


class ReferenceLocalizationScore(LocalizationScore):
    """Localization score against another network's map, thresholded, as the U-Net paper measures it.

    The paper gives no threshold: the headline takes 0.5, and parts ``at_10`` to ``at_90`` give the whole curve.
    """

    name: ClassVar[str] = "localization_ref"
    inputs: ClassVar[frozenset[str]] = frozenset({"maps", "reference"})
    value_names: tuple[str, ...] = (
        *LocalizationScore.value_names,
        *(f"at_{round(100 * threshold)}" for threshold in REFERENCE_THRESHOLDS),
    )

    def per_image(self, maps: Tensor, reference: Tensor) -> Tensor:
        """Values ``(values, N)`` of maps ``(N, H, W)`` >= 0 in reference maps ``(N, H, W)`` in [0, 1]."""
        curve = [localization_score(maps, reference >= threshold) for threshold in REFERENCE_THRESHOLDS]
        return torch.cat([super().per_image(maps, reference), torch.stack(curve)])


class EnergyInMask(ImageMetric):
    """Energy-based pointing game (Wang et al. 2020): the share of a map's energy inside the annotated mask or box.

    The same share as :class:`LocalizationScore`, and beside it that of the images whose object is ``small``: where
    boxes cover half of an image, a map of little worth scores well.

    Parts: ``energy_in_mask`` (headline), ``chance``, ``lift``; ``small``, ``small_chance``, ``small_lift`` for the
    ``small_n`` images of which the mask covers less than ``small``.

    Args:
        small: Share of the image, in (0, 1], that a small object stays below.
        name: See :class:`ImageMetric`.

    Raises:
        OptionError: When the share is out of range.
    """

    name: ClassVar[str] = "energy_in_mask"
    inputs: ClassVar[frozenset[str]] = frozenset({"maps", "masks"})
    value_names: tuple[str, ...] = ("energy_in_mask", "chance", "small", "small_chance")
    table_columns: ClassVar[tuple[str, ...]] = ("chance", "lift", "small_lift", "small_n")

    def __init__(self, small: float = 0.25, *, name: str | None = None) -> None:
        super().__init__(name=name)
        if not isinstance(small, int | float) or not 0 < small <= 1:
            raise OptionError(f"small is a share of the image, in (0, 1], got {small!r}.")
        self.small = small

    def per_image(self, maps: Tensor, masks: Tensor) -> Tensor:
        """Values ``(values, N)`` of maps ``(N, H, W)`` >= 0 in masks ``(N, H, W)``, bool or in [0, 1] (then >= 0.5)."""
        inside, total, covered = _sums(maps, object_mask(masks))
        score, chance = (inside / total).masked_fill(covered == 0, torch.nan), covered / masks.shape[1:].numel()
        large = chance >= self.small
        return torch.stack([score, chance, *(value.masked_fill(large, torch.nan) for value in (score, chance))])

    def aggregate(self, sums: Tensor, defined: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
        """Means of the parts, lifts, and the number of small objects."""
        means = super().aggregate(sums, defined, weights)
        lift, small_lift = means["energy_in_mask"] / means["chance"], means["small"] / means["small_chance"]
        return means | {"lift": lift, "small_lift": small_lift, "small_n": defined[2].sum(0)}
