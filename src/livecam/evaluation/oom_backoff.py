"""What runs out of memory goes again, with half the images and half the ``internal_batch_size``."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from typing import Any

import torch

from livecam.explain import Explainer
from livecam.runtime.memory import MOST_ON_CPU

# What the allocators of torch say on CPUs and GPUs, and its libraries where they allocate by themselves.
_REFUSED = re.compile(
    r"can't allocate memory|not enough memory|out of memory|_ALLOC_FAILED|bad_alloc|could not create a", re.IGNORECASE
)
_MOST_HALVINGS = 16


def is_oom_error(error: BaseException) -> bool:
    """Whether memory was the cause."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and _REFUSED.search(str(error)) is not None


def halved(explainer: Explainer, times: int) -> Explainer:
    """The method with its ``internal_batch_size``, and those of the methods that it is built of, halved ``times``."""
    smaller = {}
    for option in fields(explainer) if times else ():
        value = getattr(explainer, option.name)
        if isinstance(value, Explainer):
            smaller[option.name] = halved(value, times)
        elif option.name == "internal_batch_size":
            smaller[option.name] = max(1, internal_batch_size_of(explainer) >> times)
    return replace(explainer, **smaller) if smaller else explainer


def largest_batch_size(explainer: Explainer) -> int:
    """The greatest ``internal_batch_size`` of a method and of those that it is built of; 1 where there is none."""
    values = [getattr(explainer, option.name) for option in fields(explainer)]
    parts = [largest_batch_size(value) for value in values if isinstance(value, Explainer)]
    return max([internal_batch_size_of(explainer), *parts])


def internal_batch_size_of(holder: Any) -> int:
    """The ``internal_batch_size`` of a method or metric; 1 where it has none.

    One that was left to free memory, which told wrong, counts as the smaller of the greatest that would be chosen.
    """
    internal_batch_size = getattr(holder, "internal_batch_size", 1)
    return MOST_ON_CPU if internal_batch_size is None else internal_batch_size


class OomBackoff:
    """How many times the work of each method has to be halved before it fits; learnt once, kept for all batches."""

    def __init__(self) -> None:
        self._halvings: dict[str, int] = {}

    def groups(self, explainers: Iterable[Explainer]) -> Iterator[tuple[int, list[Explainer]]]:
        """Methods that can share a pass, with their halvings; those halved meanwhile come again, later.

        Args:
            explainers: All methods.

        Yields:
            Number of halvings, and the methods that need so many.
        """
        waiting = list(explainers)
        while waiting:
            times = min(self._of(explainer) for explainer in waiting)
            yield times, [explainer for explainer in waiting if self._of(explainer) == times]
            waiting = [explainer for explainer in waiting if self._of(explainer) > times]

    def back_off(self, explainer: Explainer, images: int) -> bool:
        """Halve the work of a method once more.

        Args:
            explainer: The method as it was when it ran out of memory, its internal_batch_size halved already.
            images: Images of the whole batch.

        Returns:
            False where they cannot become smaller: one image, one masked image at a time.
        """
        times = self._of(explainer)
        # Somebody's method may hold on to its internal_batch_size: no more attempts than the largest
        # internal_batch_size could take.
        if max(images >> times, largest_batch_size(explainer)) <= 1 or times > _MOST_HALVINGS:
            return False
        self._halvings[explainer.name] = times + 1
        return True

    def grown(self, explainer: Explainer, times: int) -> bool:
        """Whether a method that was halved so many times has to be halved further, and so comes again."""
        return self._of(explainer) > times

    def _of(self, explainer: Explainer) -> int:
        return self._halvings.get(explainer.name, 0)


def free_memory() -> None:
    """Give back what the allocator of a GPU holds of the attempt that failed."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
