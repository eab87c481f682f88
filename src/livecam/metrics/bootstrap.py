"""Percentile bootstrap (Efron 1979): how far a mean over images would move with other images of the same kind."""

import torch
from torch import Tensor

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
        ValueError: When there is nothing to draw.
    """
    if n < 1 or count < 1:
        raise ValueError(f"A bootstrap needs at least one image and one resample, got {n} and {count}.")
    drawn = torch.randint(n, (count, n), generator=torch.Generator().manual_seed(seed))
    return torch.zeros(count, n, dtype=torch.long).scatter_add_(1, drawn, torch.ones_like(drawn))


def interval(samples: Tensor) -> Tensor:
    """95 % percentile interval of resampled figures.

    Args:
        samples: ``(count, ...)``; NaN where a resample leaves a figure undefined, which is ignored.

    Returns:
        2.5 and 97.5 percentiles ``(2, ...)`` in float64; NaN where no resample is defined.
    """
    bounds = torch.tensor([0.025, 0.975], dtype=torch.float64, device=samples.device)
    return samples.double().nanquantile(bounds, dim=0)
