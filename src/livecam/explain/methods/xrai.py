"""XRAI: attributions of pixels are gathered in the regions of an image that hold most of them."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from livecam.core.errors import OptionError
from livecam.core.maps import resize
from livecam.core.options import Amount, Count, Share
from livecam.core.validation import check_count
from livecam.explain.explainer import Explainer
from livecam.explain.methods.gradients import IntegratedGradients
from livecam.explain.methods.segmentation import SCALES, masks_of, segment
from livecam.explain.recording.hooks import Capture
from livecam.explain.recording.network_structure import Structure
from livecam.explain.recording.recording import Recording
from livecam.explain.registry import Base
from livecam.runtime.progress import chunks


def grow_regions(attribution: Tensor, masks: Tensor, min_pixels: int = 50, area: float = 1.0) -> tuple[Tensor, Tensor]:
    """Cover an image greedily by the masks of highest mean attribution (Kapishnikov et al. 2019, algorithm 1).

    Again and again the mask is taken whose not yet covered pixels have the largest mean, the first of equals; they get
    that mean. A mask that would add fewer than ``min_pixels`` is out. What no mask covers gets its own mean, so the
    map's sum is that of the attribution. Work and memory are those of a few passes over the masks.

    Args:
        attribution: ``(H, W)``, signed.
        masks: ``(R, H, W)`` bool, overlapping or not, on the same device.
        min_pixels: Fewest pixels that a region adds, at least 1.
        area: Share of the image, in [0, 1]; growth ends when more than this is covered.

    Returns:
        The map ``(H, W)`` in the attribution's type, and ranks ``(H, W)`` long: 1 for the region of the highest mean
        (which need not be grown first), 0 where no region was grown.
    """
    values, flat = attribution.flatten().double(), masks.flatten(1)
    # Pixels first, so that those of one region are gathered in whole rows.
    members, weights = flat.T.contiguous(), torch.stack([torch.ones_like(values), _summable(values)])
    grown, region = torch.zeros_like(values), torch.zeros_like(values, dtype=torch.long)
    free = torch.ones_like(region, dtype=torch.bool)
    means: list[Tensor] = []
    covered, (count, total) = 0, _tally(weights, members)
    while covered <= area * len(values):
        # Counts only fall: who is out stays out.
        eligible = count >= min_pixels
        if not eligible.any():
            break
        best = torch.where(eligible, total / count, -math.inf).argmax()
        new = (flat[best] & free).nonzero()[:, 0]
        means.append(values[new].mean())
        grown[new], region[new], free[new] = means[-1], len(means), False
        covered += len(new)
        lost = _tally(weights[:, new], members[new])
        count, total = count - lost[0], total - lost[1]
    if covered < len(values):
        grown[free] = values[free].mean()
    return grown.view_as(attribution).to(attribution), _ranked(means, region).view(attribution.shape)


def dilate(masks: Tensor, radius: int, batch_size: int = 32) -> Tensor:
    """Dilate masks ``(R, H, W)`` by the disk x² + y² <= radius², as unions of shifted masks, a batch at a time."""
    return torch.cat([_dilated(part, radius) for part in masks.split(batch_size)]) if radius else masks


def as_scales(option: str, scales: Any) -> tuple[int, ...]:
    """Scales of a segmentation; a check of :mod:`livecam.core.options`."""
    if not scales:
        raise OptionError(f"{option} names no scale: use {option}=None for those of the papers.")
    return tuple(check_count(option, scale) for scale in scales)


@dataclass(frozen=True)
class XRAI(Explainer):
    """XRAI (Kapishnikov et al. 2019): segments of the image, ranked by the attribution that they hold.

    The image is over-segmented at several scales, by SLIC as in Zhang, Rao and Yang's AOP or by Felzenszwalb's method
    as in XRAI's own code. Segments are dilated so that they hold their edges, and the image is covered greedily by
    those of highest mean attribution, see :func:`grow_regions`. Any method gives the attribution; resized to the image,
    it and the map have the same sum, and the map is constant on every region. An image of one segment has a constant
    map, which is reported as degenerate.

    Costs what the base costs (by default 200 forwards and backwards per image), the segmentation of each image on the
    CPU, which is remembered for the last 64 images, and the growth of regions. Needs the normalization: segments are
    those of the image as people see it.

    ``details``: those of the base; ``rank`` ``(N, H, W)`` of each pixel's region from 1, or 0 outside; ``regions``
    ``(N,)``, how many were grown.

    Args:
        base: The method whose map is gathered, or its name; None takes XRAI's own, integrated gradients in 100 steps
            from black and from white, the largest of the channels.
        segmentation: ``slic`` or ``felzenszwalb``, see :func:`livecam.explain.methods.segmentation.segment`.
        scales: Of the segmentation; None takes those of the papers.
        dilation: Radius of the disk, in pixels of the image; 0 dilates nothing.
        min_pixels: Fewest pixels that a region adds.
        area: Share of the image, in [0, 1]; what is left once more than this is covered becomes one region.
        name: Key of the method; None makes it ``xrai_<base>``, or ``xrai`` upon its own base.

    Raises:
        OptionError: When the base or an option is unknown, or a number is out of range.
    """

    method: ClassVar[str] = "xrai"
    prefix: ClassVar[str] = "xrai_"

    base: Base | None = None
    segmentation: Literal["slic", "felzenszwalb"] = "slic"
    scales: Annotated[tuple[int, ...], as_scales] | None = None
    dilation: Amount = 5
    min_pixels: Count = 50
    area: Share = 1.0

    @property
    def default_name(self) -> str:
        """``xrai``, and the base's where there is one."""
        return self.method if self.base is None else f"{self.prefix}{self.base.name}"

    @property
    def label(self) -> str:
        """As people read it."""
        return "XRAI" if self.base is None else f"XRAI {self.base.label}"

    @property
    def attribution(self) -> Explainer:
        """The method whose map is gathered."""
        if self.base is not None:
            return self.base
        return IntegratedGradients(n_steps=100, baseline=("image_min", "image_max"), reduce="max")

    def captures(self, structure: Structure) -> list[Capture]:
        return self.attribution.captures(structure)

    def explain(self, recording: Recording) -> tuple[Tensor, dict[str, Any]]:
        images, normalization = recording.images, recording.normalization
        if normalization is None:
            raise OptionError(
                f"{self.label} segments the image as people see it: pass normalization=Normalization(mean, std) to say "
                "how pixels become model input."
            )
        maps, details = self.attribution.result(recording)
        maps, pixels = resize(maps, tuple(images.shape[-2:])), normalization.to_pixels(images).clamp(0, 1)
        scales, grown = self.scales or SCALES[self.segmentation], []
        for part in chunks(self.label, len(images), 1):
            labels = segment(pixels[part.start], self.segmentation, scales).to(maps.device)
            masks = dilate(masks_of(labels), self.dilation)
            grown.append(grow_regions(maps[part.start], masks, self.min_pixels, self.area))
        region_maps, ranks = (torch.stack(parts) for parts in zip(*grown))
        return region_maps, details | {"rank": ranks, "regions": ranks.flatten(1).amax(1)}


def _summable(values: Tensor) -> Tensor:
    """Values ``(P,)`` as whole numbers, in a unit (a power of two) just so small that float64 holds all their sums.

    Sums are then exact in any order, so that equal means are equal: a Grad-CAM is zero over most of an image, and what
    rounding leaves of zero must not decide which region comes first. The unit is some 1e-11 of the largest value.
    """
    exponent = math.frexp(float(values.abs().max()) * len(values))[1]
    return (values * 2.0 ** min(52 - exponent, 1000)).round()


def _tally(weights: Tensor, members: Tensor, rows: int = 4096) -> Tensor:
    """Sums of weights ``(K, P)`` over the pixels of each mask, members ``(P, R)`` bool: ``(K, R)``."""
    parts = zip(weights.split(rows, 1), members.split(rows))
    return sum(weight @ member.to(weight) for weight, member in parts)


def _ranked(means: list[Tensor], region: Tensor) -> Tensor:
    """Regions ``(P,)``, numbered from 1 as they were grown, by their place in the order of their means."""
    if not means:
        return region
    order = torch.stack(means).argsort(descending=True, stable=True)
    places = torch.zeros(len(means) + 1, dtype=torch.long, device=region.device)
    places[order + 1] = torch.arange(1, len(means) + 1, device=region.device)
    return places[region]


def _dilated(masks: Tensor, radius: int) -> Tensor:
    # From the disk's outermost lines, which are short, to its middle line: each holds those before.
    lines, union, width = masks.clone(), masks.clone(), 0
    for height in range(radius, -1, -1):
        while width < math.isqrt(radius**2 - height**2):
            width += 1
            _unite(lines, masks, width, 2)
        _unite(union, lines, height, 1)
    return union


def _unite(union: Tensor, masks: Tensor, by: int, dim: int) -> None:
    """Add masks, shifted by this many pixels to either side, to ``union``, in place."""
    length = max(union.shape[dim] - by, 0)
    by = union.shape[dim] - length
    union.narrow(dim, by, length).logical_or_(masks.narrow(dim, 0, length))
    union.narrow(dim, 0, length).logical_or_(masks.narrow(dim, by, length))
