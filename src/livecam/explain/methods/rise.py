"""RISE: random masks, weighted by the class probability of what they let through; no gradients."""

from dataclasses import dataclass
from math import ceil
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from livecam.core.baselines import Fill, as_fill, filled
from livecam.core.validation import check_chunk, check_count, check_option, check_seed
from livecam.explain.explainer import Explainer
from livecam.explain.recording.recording import Recording
from livecam.runtime.inference import PRECISIONS, Precision
from livecam.runtime.progress import chunks


@dataclass(frozen=True)
class RISE(Explainer):
    """RISE (Petsiuk et al. 2018): 1 / (n p) sum_i p_c(x m_i) m_i over n random masks m_i in [0, 1].

    A mask is a grid of s x s cells, each kept with probability p, enlarged by a cell more than the image needs and cut
    to its size at a random place. A map is an estimate of the expected probability when a pixel is seen, and its noise
    shrinks with the square root of n. Costs ``masks`` forwards.

    Every image of a batch gets the same masks, so that a map does not depend on its neighbours; grids and places come
    from a generator of their own on the CPU, so that every device draws the same.

    ``details``: ``masks``, their number.

    Args:
        masks: Number of masks n; the paper takes 4000 for VGG16 and 8000 for ResNet50.
        cells: Cells of a mask s, along each side of the image.
        keep: Probability p that a cell is seen.
        shift: Whether masks are cut at a random place; False lets the grid lie on the image from its upper left corner.
        upsampling: ``bilinear`` masks fade from cell to cell, ``nearest`` ones do not.
        fill: What shows through where a mask is 0, see :func:`livecam.core.baselines.filled`.
        seed: Seed of the masks.
        precision: Of the masked images' forwards, see :mod:`livecam.runtime.inference`; sums stay in at least float32.
        chunk: Masked images per forward; None takes what fits into free memory, see :mod:`livecam.runtime.memory`. A
            forward has at least one mask of every image.
        name: See :class:`Explainer`.

    Raises:
        ValueError: When an option is unknown or out of range.
    """

    method: ClassVar[str] = "rise"
    label: ClassVar[str] = "RISE"

    masks: int = 4000
    cells: int = 7
    keep: float = 0.5
    shift: bool = True
    upsampling: Literal["bilinear", "nearest"] = "bilinear"
    fill: Fill = "zero_normalised"
    seed: int = 0
    precision: Precision = "full"
    chunk: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("masks", self.masks)
        check_count("cells", self.cells)
        check_chunk(self.chunk)
        check_option("precision", self.precision, PRECISIONS)
        check_seed(self.seed)
        if not 0 < self.keep < 1:
            raise ValueError(f"keep is the probability that a cell is seen, between 0 and 1, got {self.keep}.")
        check_option("upsampling", self.upsampling, ("bilinear", "nearest"))
        object.__setattr__(self, "fill", as_fill("fill", self.fill))

    def explain(self, recording: Recording) -> tuple[Tensor, dict[str, Any]]:
        images = recording.images
        blank = filled(images, self.fill, recording.normalisation)
        # Drawn at once, before any pass: what a mask is depends on no chunk.
        masks = _Masks(self, tuple(images.shape[-2:]), images.device)
        # Sums in at least single precision, whatever the network computes in.
        maps = torch.zeros_like(images[:, 0], dtype=torch.promote_types(images.dtype, torch.float32))
        total = maps.new_zeros(len(images), 1, 1)
        at_once = max(1, recording.fitting(self.chunk, precision=self.precision) // len(images))
        for part in chunks(self.label, self.masks, at_once):
            mask = masks.made(part, maps)
            seen = mask[:, None, None].to(images)
            owner = torch.arange(len(images), device=images.device).repeat(len(mask))
            shown = (images * seen + blank * (1 - seen)).flatten(0, 1)
            score = recording.probability(shown, owner, self.precision).view(len(mask), len(images)).to(maps)
            # Around the masks' mean: what all pixels have in common would grow until it rounds their differences off.
            maps += torch.einsum("mn,mhw->nhw", score, mask - self.keep)
            total += score.sum(0)[:, None, None]
        return (maps + self.keep * total) / (self.masks * self.keep), {"masks": self.masks}


class _Masks:
    """The masks of one call.

    Args:
        rise: Their settings.
        size: Height and width of the images.
        device: Where grids and places are put, all at once: what is copied in a loop makes it wait for the device.
    """

    def __init__(self, rise: RISE, size: tuple[int, int], device: torch.device) -> None:
        generator = torch.Generator().manual_seed(rise.seed)
        self.mode, self.size = rise.upsampling, size
        self.grids = (torch.rand(rise.masks, rise.cells, rise.cells, generator=generator) < rise.keep).float()
        cell = [ceil(side / rise.cells) for side in size]
        if rise.shift:
            self.large = tuple((rise.cells + 1) * side for side in cell)
            self.starts = [torch.randint(side, (rise.masks,), generator=generator) for side in cell]
        else:
            # Not a cell more: nothing is cut at its upper left, and a cell is a cell of the image.
            self.large = tuple(rise.cells * side for side in cell)
            self.starts = [torch.zeros(rise.masks, dtype=torch.long)] * 2
        self.grids, self.starts = self.grids.to(device), [start.to(device) for start in self.starts]

    def made(self, part: slice, like: Tensor) -> Tensor:
        """Masks ``(M, H, W)`` of these numbers, of the type of ``like``."""
        large = F.interpolate(self.grids[part, None].to(like), self.large, mode=self.mode)[:, 0]
        rows, columns = (
            start[part, None] + torch.arange(side, device=like.device) for start, side in zip(self.starts, self.size)
        )
        number = torch.arange(len(large), device=like.device)
        return large[number[:, None, None], rows[:, :, None], columns[:, None, :]]
