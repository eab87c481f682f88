"""Occlusion: what the class score loses when a window of the image is hidden; no gradients."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from livecam.core.baselines import Baseline, baseline_images
from livecam.core.errors import OptionError
from livecam.core.options import Count
from livecam.explain.explainer import Explainer
from livecam.explain.recording.recording import Recording
from livecam.runtime.inference import Precision


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def as_pair(option: str, value: Any) -> int | tuple[int, int]:
    """Pixels of both sides, or of each; a check of :mod:`livecam.core.options`."""
    pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(pair) != 2 or not all(isinstance(number, int) and number >= 1 for number in pair):
        raise OptionError(f"{option} is a whole number of pixels from 1, or two: (height, width), got {value!r}.")
    return pair if isinstance(value, list | tuple) else value


Pair = Annotated[int | tuple[int, int], as_pair]


@dataclass(frozen=True)
class Occlusion(Explainer):
    """Occlusion sensitivity (Zeiler & Fergus 2014): a window slides over the image and hides all channels below it.

    A pixel's value is the mean over the windows that cover it of p_c(x) - p_c(x under the window): positive where the
    class needs the pixel, negative where it hides a competitor. Costs one forward for every window, ny nx of them with
    ny = floor((H - p) / t) + 1 for size p and stride t, and one more row where the border needs its own.

    A pixel that no window covers, between strides larger than the window or at a border left alone, lost nothing: its
    drop is 0, its score the clean one.

    Of a class that is certain (1 to six digits in single precision) hiding a window changes nothing but rounding, which
    counts as zero; ``score="logit"`` still shows what its score loses.

    ``details``: ``grid`` ``(N, ny, nx)``, the score under each window; ``clean`` ``(N,)``, that of the image itself.

    Args:
        window_size: Height and width of the window in pixels; one number for a square.
        stride: Pixels from one window to the next, downwards and to the right; one number for both.
        cover_border: Whether a last window is aligned to the border where strides do not reach it.
        baseline: What the window shows, see :func:`livecam.core.baselines.baseline_images`.
        score: Hidden and clean images are compared by the class's ``probability`` or by its ``logit``.
        show: ``drop`` as above; ``probability`` is the mean score under the windows themselves, low where the class
            needs the pixel (Midha and Garg draw it).
        precision: Of the occluded images' forwards, see :mod:`livecam.runtime.inference`; with ``bf16`` the image
            itself goes through one more of its own, so that rounding they share cancels.
        internal_batch_size: Occluded images per forward; None takes what fits into free memory, see
            :mod:`livecam.runtime.memory`.
        name: See :class:`Explainer`.

    Raises:
        OptionError: When an option is unknown or a number is not positive.
    """

    method: ClassVar[str] = "occlusion"
    label: ClassVar[str] = "Occlusion"

    window_size: Pair = 10
    stride: Pair = 10
    cover_border: bool = True
    baseline: Baseline = "zero_normalized"
    score: Literal["probability", "logit"] = "probability"
    show: Literal["drop", "probability"] = "drop"
    precision: Precision = "full"
    internal_batch_size: Count | None = None

    @property
    def signed(self) -> bool:
        """Drops have a zero in their middle, scores have none."""
        return self.show == "drop"

    def explain(self, recording: Recording) -> tuple[Tensor, dict[str, Any]]:
        rows, columns = self._covers(recording.images)
        clean = self._clean(recording).to(rows)
        grid = self._grid(recording, rows, columns)
        # Uncovered pixels divide nothing by one.
        counts = rows.sum(0).clamp(min=1)[:, None] * columns.sum(0).clamp(min=1)
        lost = clean[:, None, None] - grid
        # Of a class that is certain, rounding is all that changes; it must not become a map of full contrast.
        lost = lost.masked_fill(lost.abs() <= 8 * torch.finfo(lost.dtype).eps * clean.abs()[:, None, None], 0)
        drop = torch.einsum("yh,nyx,xw->nhw", rows, lost, columns) / counts
        maps = drop if self.show == "drop" else clean[:, None, None] - drop
        return maps, {"grid": grid, "clean": clean}

    def _covers(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Which rows ``(ny, H)`` and which columns ``(nx, W)`` each row and column of windows covers, as 0 and 1."""
        sides, size, stride = images.shape[2:], _pair(self.window_size), _pair(self.stride)
        if size[0] > sides[0] or size[1] > sides[1]:
            raise OptionError(
                f"The occluding window of {size[0]} x {size[1]} px does not fit into an image of {sides[0]} x "
                f"{sides[1]} px: choose a smaller window_size=."
            )
        covers = []
        for side, width, step in zip(sides, size, stride):
            starts = list(range(0, side - width + 1, step))
            if self.cover_border and (side - width) % step:
                starts.append(side - width)
            start = torch.tensor(starts, device=images.device)[:, None]
            place = torch.arange(side, device=images.device)
            inside = (start <= place) & (place < start + width)
            covers.append(inside.to(torch.promote_types(images.dtype, torch.float32)))
        return covers[0], covers[1]

    def _clean(self, recording: Recording) -> Tensor:
        """Score ``(N,)`` of the images themselves; the recorded pass has it in full precision."""
        if self.precision != "full":
            sample_index = torch.arange(len(recording.images), device=recording.images.device)
            return self._score(recording, recording.images, sample_index)
        read = recording.head.probability if self.score == "probability" else recording.head.score
        return read(recording.logits, recording.targets)

    def _score(self, recording: Recording, images: Tensor, sample_index: Tensor) -> Tensor:
        score = recording.probability if self.score == "probability" else recording.score
        return score(images, sample_index, self.precision)

    def _grid(self, recording: Recording, rows: Tensor, columns: Tensor) -> Tensor:
        """Score ``(N, ny, nx)`` under each window."""
        images = recording.images
        baseline = baseline_images(images, self.baseline, recording.normalization)
        grid = rows.new_empty(len(images), len(rows), len(columns))
        flat = grid.view(-1)
        for part in recording.chunks(self, len(flat)):
            window = torch.arange(part.start, part.stop, device=images.device)
            sample_index = window // grid[0].numel()
            row, column = rows[window // len(columns) % len(rows)], columns[window % len(columns)]
            hidden = (row[:, :, None] * column[:, None, :]).bool()[:, None]
            occluded = torch.where(hidden, baseline[sample_index], images[sample_index])
            flat[part] = self._score(recording, occluded, sample_index).to(flat)
        return grid
