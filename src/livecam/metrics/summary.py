"""From per-image values to what is reported of a set: figures with intervals, and paired differences."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from livecam.core.errors import OptionError
from livecam.metrics.image_metric import ImageMetric, totals

RESAMPLES = 2000


def resamples(n: int, count: int = RESAMPLES, seed: int = 0) -> Tensor:
    """How often each image is drawn in resamples of n images with replacement; the same for one seed everywhere.

    Weighted sums with these counts stand for sums over resamples: ``counts.double() @ values`` has one sum each.

    Args:
        n: Number of images, at least 1.
        count: Number of resamples, at least 1.
        seed: Of an own generator; the global one is left alone.

    Returns:
        LongTensor ``(count, n)`` on the CPU, each row summing to n.

    Raises:
        OptionError: When there is nothing to draw.
    """
    if n < 1 or count < 1:
        raise OptionError(f"A bootstrap needs at least one image and one resample, got {n} and {count}.")
    draws = torch.randint(n, (count, n), generator=torch.Generator().manual_seed(seed))
    return torch.zeros(count, n, dtype=torch.long).scatter_add_(1, draws, torch.ones_like(draws))


def interval(samples: Tensor) -> Tensor:
    """95 % percentile interval of resampled figures.

    Args:
        samples: ``(count, ...)``; NaN where a resample leaves a figure undefined, which is ignored.

    Returns:
        2.5 and 97.5 percentiles ``(2, ...)`` in float64; NaN where no resample is defined.
    """
    bounds = torch.tensor([0.025, 0.975], dtype=torch.float64, device=samples.device)
    return samples.double().nanquantile(bounds, dim=0)


_AT_ONCE = 2_000_000  # drawn images that are held in memory


@dataclass(frozen=True)
class Figure:
    """A figure of a set of images with its 95 % bootstrap interval over images.

    Args:
        value: Of the set itself; NaN where it is undefined.
        low: Lower bound.
        high: Upper bound.
    """

    value: float
    low: float
    high: float


@dataclass
class ImageValues:
    """Per-image values of one metric for one method.

    Args:
        metric: What they are values of.
        values: ``(values, N)``, NaN where a part is undefined.
        categories: LongTensor ``(N,)``, for metrics that take means within categories.
        images: LongTensor ``(N,)``: which image each value is of. Several categories of one image are drawn together,
            because they are not independent; None: each value has an image of its own.
    """

    metric: ImageMetric
    values: Tensor
    categories: Tensor | None = None
    images: Tensor | None = None

    def aggregate(self, counts: Tensor | None = None) -> dict[str, Tensor]:
        """What the metric makes of the images, ``(R,)`` each.

        Args:
            counts: How often each image counts in each of R resamples, ``(R, N)``; None takes every image once.
        """
        count = self.values.shape[1]
        image_weights = (torch.ones(1, count) if counts is None else counts).double().T
        categories = torch.zeros(count, dtype=torch.long) if self.categories is None else self.categories
        order, sizes = categories.argsort(stable=True), categories.unique(return_counts=True)[1].tolist()
        parts = (part[:, order].split(sizes, 1) for part in totals(self.values))
        groups = list(zip(image_weights[order].split(sizes), *parts))
        sums, defined = (torch.stack([group[n].double() @ group[0] for group in groups], 1) for n in (1, 2))
        # A category counts as often as its images are drawn: of categories with one image, a resample would otherwise
        # be a sample without replacement.
        weights = torch.stack([group[0].mean(0) for group in groups])
        return self.metric.aggregate(sums, defined, weights)

    def resampled(self, seed: int = 0, count: int = RESAMPLES) -> dict[str, Tensor]:
        """Figures of ``count`` bootstrap resamples, ``(count,)`` each.

        Equal seeds and numbers of images draw equal resamples, so that figures of the same images in the same order
        are paired.
        """
        number, sample_index = self.values.shape[1], None
        if self.images is not None:
            images, sample_index = self.images.unique(return_inverse=True)
            # Values of as many images keep their order: it decides which are drawn together with those of others.
            number, sample_index = len(images), None if len(images) == number else sample_index
        draws = _drawn(number, seed, count)
        parts = [self.aggregate(counts if sample_index is None else counts[:, sample_index]) for counts in draws]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def summarize(values: ImageValues) -> dict[str, Figure]:
    """Every figure of the metric with its interval; empty where there is no image."""
    if not values.values.shape[1]:
        return {}
    return _with_intervals(values.aggregate(), values.resampled())


def differences(one: ImageValues, other: ImageValues) -> dict[str, Figure]:
    """Every figure of ``one`` minus that of ``other``, with intervals over images that both have in the same order.

    Raises:
        OptionError: When the numbers of images differ.
    """
    if one.values.shape != other.values.shape:
        raise OptionError(
            f"Paired differences need the same images: there are {one.values.shape[1]} and {other.values.shape[1]}."
        )
    if not one.values.shape[1]:
        return {}
    first, second = one.resampled(), other.resampled()
    minuend, subtrahend = one.aggregate(), other.aggregate()
    return _with_intervals(
        {name: minuend[name] - subtrahend[name] for name in minuend},
        {name: first[name] - second[name] for name in first},
    )


def mean_figure(values: Tensor) -> Figure:
    """Mean of at least one value ``(N,)``, with its interval."""
    values = values.double()
    means = torch.cat([counts.double() @ values for counts in _drawn(len(values))]) / len(values)
    return _with_intervals({"mean": values.mean()}, {"mean": means})["mean"]


def _drawn(number: int, seed: int = 0, count: int = RESAMPLES) -> Iterator[Tensor]:
    """Counts of ``count`` resamples of so many images, a part of them at a time."""
    size = max(1, _AT_ONCE // number)
    for start in range(0, count, size):
        yield resamples(number, min(size, count - start), seed + start)


def _with_intervals(values: dict[str, Tensor], resampled: dict[str, Tensor]) -> dict[str, Figure]:
    figures = {}
    for name, value in values.items():
        low, high = interval(resampled[name]).tolist()
        figures[name] = Figure(float(value), low, high)
    return figures
