"""RISE: random masks, weighted by the class probability of what they let through; no gradients."""

from dataclasses import dataclass
from math import ceil
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from livecam.core.baselines import Baseline, baseline_images
from livecam.core.errors import OptionError
from livecam.core.options import Count, Seed, Share
from livecam.explain.explainer import Explainer
from livecam.explain.recording.recording import Recording
from livecam.runtime.inference import Precision


@dataclass(frozen=True)
class RISE(Explainer):
    """RISE (Petsiuk et al. 2018): 1 / (n p) sum_i p_c(x m_i) m_i over n random masks m_i in [0, 1].

    A mask is a grid of s x s cells, each kept with probability p, enlarged by a cell more than the image needs and cut
    to its size at a random place. A map is an estimate of the expected probability when a pixel is seen, and its noise
    shrinks with the square root of n. Costs ``num_masks`` forwards.

    Every image of a batch gets the same masks, so that a map does not depend on its neighbors; grids and places come
    from a generator of their own on the CPU, so that every device draws the same.

    ``details``: ``num_masks``, their number.

    Args:
        num_masks: Number of masks n; the paper takes 4000 for VGG16 and 8000 for ResNet50.
        grid_size: Cells of a mask s, along each side of the image.
        keep_prob: Probability p that a cell is seen.
        random_shift: Whether masks are cut at a random place; False lets the grid lie on the image from its upper left
            corner.
        upsampling: ``bilinear`` masks fade from cell to cell, ``nearest`` ones do not.
        baseline: What shows through where a mask is 0, see :func:`livecam.core.baselines.baseline_images`.
        seed: Seed of the masks.
        precision: Of the masked images' forwards, see :mod:`livecam.runtime.inference`; sums stay in at least float32.
        internal_batch_size: Masked images per forward; None takes what fits into free memory, see
            :mod:`livecam.runtime.memory`. A forward has at least one mask of every image.
        name: See :class:`Explainer`.

    Raises:
        OptionError: When an option is unknown or out of range.
    """

    method: ClassVar[str] = "rise"
    label: ClassVar[str] = "RISE"

    num_masks: Count = 4000
    grid_size: Count = 7
    keep_prob: Share = 0.5
    random_shift: bool = True
    upsampling: Literal["bilinear", "nearest"] = "bilinear"
    baseline: Baseline = "zero_normalized"
    seed: Seed = 0
    precision: Precision = "full"
    internal_batch_size: Count | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.keep_prob < 1:
            raise OptionError(f"keep_prob is the probability that a cell is seen, in (0, 1), got {self.keep_prob}.")

    def explain(self, recording: Recording) -> tuple[Tensor, dict[str, Any]]:
        images = recording.images
        baseline = baseline_images(images, self.baseline, recording.normalization)
        # Drawn at once, before any pass: what a mask is depends on no batch size.
        masks = _Masks(self, tuple(images.shape[-2:]), images.device)
        # Sums in at least single precision, whatever the network computes in.
        maps = torch.zeros_like(images[:, 0], dtype=torch.promote_types(images.dtype, torch.float32))
        total = maps.new_zeros(len(images), 1, 1)
        for part in recording.chunks(self, self.num_masks, every_image=True):
            mask = masks.made(part, maps)
            keep = mask[:, None, None].to(images)
            sample_index = torch.arange(len(images), device=images.device).repeat(len(mask))
            inputs = (images * keep + baseline * (1 - keep)).flatten(0, 1)
            score = recording.probability(inputs, sample_index, self.precision).view(len(mask), len(images)).to(maps)
            # Around the masks' mean: what all pixels have in common would grow until it rounds their differences off.
            maps += torch.einsum("mn,mhw->nhw", score, mask - self.keep_prob)
            total += score.sum(0)[:, None, None]
        return (maps + self.keep_prob * total) / (self.num_masks * self.keep_prob), {"num_masks": self.num_masks}


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
        draws = torch.rand(rise.num_masks, rise.grid_size, rise.grid_size, generator=generator)
        self.grids = (draws < rise.keep_prob).float()
        cell = [ceil(side / rise.grid_size) for side in size]
        if rise.random_shift:
            self.large = tuple((rise.grid_size + 1) * side for side in cell)
            self.starts = [torch.randint(side, (rise.num_masks,), generator=generator) for side in cell]
        else:
            # Not a cell more: nothing is cut at its upper left, and a cell is a cell of the image.
            self.large = tuple(rise.grid_size * side for side in cell)
            self.starts = [torch.zeros(rise.num_masks, dtype=torch.long)] * 2
        self.grids, self.starts = self.grids.to(device), [start.to(device) for start in self.starts]

    def made(self, part: slice, like: Tensor) -> Tensor:
        """Masks ``(M, H, W)`` of these numbers, of the type of ``like``."""
        large = F.interpolate(self.grids[part, None].to(like), self.large, mode=self.mode)[:, 0]
        rows, columns = (
            start[part, None] + torch.arange(side, device=like.device) for start, side in zip(self.starts, self.size)
        )
        number = torch.arange(len(large), device=like.device)
        return large[number[:, None, None], rows[:, :, None], columns[:, None, :]]
