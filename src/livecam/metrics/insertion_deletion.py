"""Insertion and deletion (Petsiuk et al. 2018): what becomes of a class when pixels go, or come, in a map's order."""

from math import ceil
from typing import ClassVar, NamedTuple, get_args

import torch
from torch import Tensor, nn

from livecam.core.baselines import Baseline, as_baseline, baseline_images
from livecam.core.errors import OptionError
from livecam.core.normalization import Normalization
from livecam.core.validation import check_count, check_option, check_seed
from livecam.metrics.image_metric import ImageMetric, check_fit
from livecam.runtime.inference import Precision, forward_proba
from livecam.runtime.memory import auto_batch_size
from livecam.runtime.model_state import isolated_eval
from livecam.runtime.progress import chunks

TIES = ("random", "row_major", "numpy")
PERCENTS = tuple(range(0, 101, 10))


class Curves(NamedTuple):
    """Probability of each image's class while its pixels go or come."""

    pixels: Tensor
    """LongTensor ``(n + 1,)``: how many pixels have gone, or come; from 0 to all."""
    deletion: Tensor
    """``(N, n + 1)`` float64 in [0, 1], from the image to its baseline."""
    insertion: Tensor
    """``(N, n + 1)`` float64 in [0, 1], from the baseline to the image."""


def tied_share(maps: Tensor, more_than: int = 1) -> Tensor:
    """Share of the pixels of each map ``(N, H, W)`` whose value occurs more than so many times, ``(N,)`` float64."""
    values = maps.flatten(1).sort(1).values.contiguous()
    times = torch.searchsorted(values, values, right=True) - torch.searchsorted(values, values)
    return (times > more_than).double().mean(1)


def tie_orders(ties: str, pixels: int, seed: int = 0) -> Tensor:
    """In which order pixels of equal value are taken, LongTensor ``(T, HW)``, the same for all images of a size.

    Args:
        ties: ``random``: three seeded permutations. ``row_major``: from the upper left on. ``numpy``: from the lower
            right on, as ``numpy.argsort(map, kind="stable")[::-1]`` has it; RISE's code leaves out ``kind``, and then
            the order of ties depends on the processor.
        pixels: Number of pixels HW.
        seed: Of an own generator on the CPU.
    """
    rows = torch.arange(pixels)
    if ties == "random":
        generator = torch.Generator().manual_seed(seed)
        return torch.stack([torch.randperm(pixels, generator=generator) for _ in range(3)])
    return (rows if ties == "row_major" else rows.flip(0))[None]


def ranks(maps: Tensor, ties: Tensor) -> Tensor:
    """Place of every pixel in a map's descending order, IntTensor ``(N, HW)``; 0 is the first.

    Args:
        maps: ``(N, H, W)`` of any scale.
        ties: LongTensor ``(HW,)``: the order in which pixels of equal value are taken.
    """
    order = ties[maps.flatten(1)[:, ties].sort(dim=1, descending=True, stable=True).indices]
    place = torch.arange(len(ties), dtype=torch.int, device=maps.device)
    return torch.empty_like(order, dtype=torch.int).scatter_(1, order, place.expand_as(order))


def perturbation_curves(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    maps: Tensor,
    deleted: Tensor,
    inserted: Tensor | None = None,
    *,
    ties: Tensor,
    step: int,
    head: str = "auto",
    precision: Precision = "full",
    internal_batch_size: int | None = None,
) -> Curves:
    """Delete pixels in descending order of a map, and insert them in the same order; see :class:`InsertionDeletion`.

    Args:
        model: Classifier; left as it was found.
        images: Model input ``(N, 3, H, W)``.
        targets: LongTensor ``(N,)``.
        maps: ``(N, H, W)`` of any scale.
        deleted: What is left of each image when every pixel has gone, ``(N, 3, H, W)``.
        inserted: What insertion starts from ``(N, 3, H, W)``; None is the same.
        ties: Orders of equal pixels ``(T, HW)``; all are averaged over where more than 20 % of a map's pixels belong to
            groups of equal pixels that do not fit into one step, else the first alone is taken.
        step: Pixels per step.
        head: Name of the network's head.
        precision: Of the forwards, see :mod:`livecam.runtime.inference`.
        internal_batch_size: Masked images per forward; None takes what fits into free memory, see
            :mod:`livecam.runtime.memory`.

    Raises:
        OptionError: When maps and images differ in size.
    """
    check_fit(maps, images)
    device, count, size = images.device, len(images), ties.shape[1]
    maps, targets, ties = maps.to(device), targets.to(device), ties.to(device)
    pixels = (torch.arange(ceil(size / step) + 1, device=device) * step).clamp(max=size)

    # A smaller group is gone within a step or two, whatever its order.
    repeats = torch.where(tied_share(maps, more_than=step) > 0.2, len(ties), 1)
    # One row for each order of each image; the first rows are the images themselves, in order.
    turn, sample_index = (torch.arange(len(ties), device=device)[:, None] < repeats).nonzero(as_tuple=True)
    rank = torch.cat([ranks(maps[sample_index[turn == number]], order) for number, order in enumerate(ties)])

    sources = torch.stack([images, deleted] if inserted is None else [images, deleted, inserted])
    jobs = _jobs(count, len(sample_index), len(sources), pixels[1:-1])
    # Once, and not for every pass: it takes time, and targets are checked on the device.
    with isolated_eval(model, device):
        scores = torch.empty(len(jobs), dtype=torch.float64, device=device)
        for part in chunks(
            "insertion and deletion",
            len(jobs),
            internal_batch_size or auto_batch_size(model, images, precision=precision),
        ):
            row, first, background, num_pixels = jobs[part].T
            is_first = (rank[row] < num_pixels[:, None]).view(-1, 1, *images.shape[2:])
            inputs = torch.where(is_first, sources[first, sample_index[row]], sources[background, sample_index[row]])
            probabilities = forward_proba(model, inputs, head, None if part.start else targets, precision)
            scores[part] = probabilities.gather(1, targets[sample_index[row], None])[:, 0].double()

    ends, inner = scores.split([len(sources) * count, 2 * len(sample_index) * (len(pixels) - 2)])
    ends, inner = ends.view(len(sources), count, 1), inner.view(2, len(sample_index), len(pixels) - 2)
    # Laid out before they are added up: scattered sums would depend on which came first.
    by_order = inner.new_zeros(2, len(ties), count, len(pixels) - 2)
    by_order[:, turn, sample_index] = inner
    deletion, insertion = by_order.sum(1) / repeats[:, None]
    return Curves(pixels, torch.cat([ends[0], deletion, ends[1]], 1), torch.cat([ends[-1], insertion, ends[0]], 1))


def _jobs(images: int, rows: int, sources: int, pixels: Tensor) -> Tensor:
    """What is run, LongTensor ``(J, 4)``: row of the ranks, source of the first pixels and of the rest, how many.

    First every source of every image as it is; source 0 is the image. Then deletion, then insertion, row by row.
    """
    numbers = [torch.arange(number, device=pixels.device) for number in (sources, images, 2, rows)]
    source, image = torch.cartesian_prod(*numbers[:2]).T
    curve, row, count = torch.cartesian_prod(*numbers[2:], pixels).T
    ends = torch.stack([image, source, source, torch.zeros_like(source)], 1)
    return torch.cat([ends, torch.stack([row, 1 - curve, curve * (sources - 1), count], 1)])


def auc(curve: Tensor) -> Tensor:
    """Area ``(N,)`` under curves ``(N, n + 1)``, by trapezoids; a last, shorter step counts 1 / n too, as in RISE."""
    return (curve.sum(1) - (curve[:, 0] + curve[:, -1]) / 2) / (curve.shape[1] - 1)


def at_percents(curve: Tensor, pixels: Tensor) -> Tensor:
    """Values ``(N, 11)`` of one of :class:`Curves` after 0, 10, ... 100 % of the pixels, linear between steps."""
    pixels = pixels.double()
    place = torch.tensor(PERCENTS, dtype=torch.float64, device=pixels.device) * pixels[-1] / 100
    right = torch.searchsorted(pixels, place).clamp(min=1)
    share = (place - pixels[right - 1]) / (pixels[right] - pixels[right - 1])
    return curve[:, right - 1].lerp(curve[:, right], share)


class InsertionDeletion(ImageMetric):
    """Does the class rise fast where a map's pixels are put in, and fall fast where they are taken out?

    Pixels are taken in descending order of the map, ``step`` at a time. Deletion replaces them by the baseline;
    insertion starts from the baseline and puts them back. Each gives a curve of the class's probability, and its area
    is the score (Petsiuk et al. 2018, RISE); the headline is insertion minus deletion (Zhang et al., SIGCAM).

    Ties decide the score of maps that are mostly exact zeros: the order of equal pixels alone can more than double an
    area. It is random by default, and maps of which more than 20 % are tied, in groups
    larger than a step, take the mean over three orders. A constant map so scores what a random order does; it is
    counted as degenerate. A map that is not finite has no order and is undefined.

    Scores depend on the baseline; two presets: SIGCAM's is the default, RISE's is ``baseline="zero_normalized",
    insertion_baseline="rise"`` (with ``step=224`` at 224 px).

    Costs 2 n forwards per image of n steps, 224 by default, and one more where the baselines differ; with three
    orders 4 (n - 1) more. The image and its baseline are run once for both curves.

    Parts: ``insertion_deletion`` (headline: insertion - deletion, in [-1, 1]), ``insertion``, ``deletion`` (lower is
    better), ``tied`` (share of the pixels whose value occurs more than once in the map); with ``curves`` also
    ``insertion_at_00``, ``insertion_at_10``, ... ``deletion_at_100``: the probability after that percentage of pixels.

    Args:
        baseline: What takes the place of pixels, see :func:`baseline_images`; a word or an RGB color in [0, 1].
        insertion_baseline: What insertion starts from, where that is something else.
        step: Pixels per step; None takes about 112 steps, which are 448 pixels at 224 px.
        ties: Order of equal pixels: ``random``, ``row_major`` or ``numpy``, see :func:`tie_orders`.
        internal_batch_size: Masked images per forward; None takes what fits into free memory, see
            :mod:`livecam.runtime.memory`.
        seed: Of the random orders.
        curves: Whether points of the curves are reported.
        precision: Of the forwards, see :mod:`livecam.runtime.inference`.
        name: See :class:`ImageMetric`.

    Raises:
        OptionError: When an option is unknown or out of range.
    """

    name: ClassVar[str] = "insertion_deletion"
    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images", "targets", "maps", "head", "normalization"})
    uses: ClassVar[str] = "map"
    value_names: tuple[str, ...] = ("insertion_deletion", "insertion", "deletion", "tied")
    table_columns: ClassVar[tuple[str, ...]] = ("tied", "deletion", "insertion")
    in_percent: ClassVar[bool] = True

    def __init__(
        self,
        baseline: Baseline = "blur51",
        insertion_baseline: Baseline | None = None,
        step: int | None = None,
        ties: str = "random",
        internal_batch_size: int | None = None,
        seed: int = 0,
        curves: bool = False,
        precision: Precision = "full",
        *,
        name: str | None = None,
    ) -> None:
        if not isinstance(curves, bool):
            raise OptionError(f"curves is True or False, got {curves!r}.")
        if curves:
            self.value_names += tuple(
                f"{name}_at_{share:02}" for name in ("insertion", "deletion") for share in PERCENTS
            )
        super().__init__(name=name)
        check_option("ties", ties, TIES)
        for option, value in (("step", step), ("internal_batch_size", internal_batch_size)):
            check_count(option, 1 if value is None else value)
        check_option("precision", precision, get_args(Precision))
        check_seed("seed", seed)
        start = baseline if insertion_baseline is None else insertion_baseline
        self.baseline = as_baseline("baseline", baseline)
        self.insertion_baseline = as_baseline("insertion_baseline", start)
        self.step, self.ties, self.seed, self.curves = step, ties, seed, curves
        self.internal_batch_size, self.precision = internal_batch_size, precision

    def per_image(
        self,
        model: nn.Module,
        images: Tensor,
        targets: Tensor,
        maps: Tensor,
        head: str = "auto",
        normalization: Normalization | None = None,
    ) -> Tensor:
        """Values ``(values, N)`` of maps ``(N, H, W)`` of images ``(N, 3, H, W)`` and targets ``(N,)``."""
        kinds = dict.fromkeys((self.baseline, self.insertion_baseline))
        baselines = [baseline_images(images, kind, normalization) for kind in kinds]
        size = images.shape[2] * images.shape[3]
        step, ties = self.step or ceil(size / 112), tie_orders(self.ties, size, self.seed)
        curves = perturbation_curves(
            model,
            images,
            targets,
            maps,
            *baselines,
            ties=ties,
            step=step,
            head=head,
            precision=self.precision,
            internal_batch_size=self.internal_batch_size,
        )
        insertion, deletion = auc(curves.insertion), auc(curves.deletion)
        values = [insertion - deletion, insertion, deletion, tied_share(maps).to(insertion.device)]
        if self.curves:
            values += [*at_percents(curves.insertion, curves.pixels).T, *at_percents(curves.deletion, curves.pixels).T]
        unordered = ~maps.isfinite().flatten(1).all(1)
        return torch.stack(values).masked_fill(unordered.to(insertion.device), torch.nan)
