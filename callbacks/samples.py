"""The fixed samples of a gallery: balanced over classes, the same in every epoch and after a resume."""

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset, IterableDataset, Subset


def class_indices(dataset: Any) -> list[int] | None:
    """Class of every sample without loading any: the ``targets`` that torchvision's and our data sets have.

    Of the classes of a multi-label sample it is the rarest in the set, so that a gallery shows many; -1 for none.
    """
    if isinstance(dataset, Subset):
        inner = class_indices(dataset.dataset)
        return None if inner is None else [inner[index] for index in dataset.indices]
    targets = getattr(dataset, "targets", None)
    if targets is None or not hasattr(dataset, "__len__") or len(targets) != len(dataset):
        return None
    targets = torch.as_tensor(targets)
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.ndim == 2:
        targets = targets >= 0.5
        rarity = 1 / targets.sum(0).clamp_min(1)
        rarest = (targets * rarity).argmax(1)
        targets = rarest.where(targets.any(1), torch.tensor(-1))
    return targets.tolist() if targets.ndim == 1 else None


def balanced(classes: Sequence[int], count: int) -> list[int]:
    """Choose ``count`` positions that share the classes evenly; the choice depends on ``classes`` alone.

    With more classes than places, the classes are spread over their range. Class -1, which is none, comes in only where
    there is no other.
    """
    rng = random.Random(0)
    members: dict[int, list[int]] = {}
    for position, label in enumerate(classes):
        members.setdefault(int(label), []).append(position)
    for positions in members.values():
        rng.shuffle(positions)
    order = [label for label in sorted(members) if label >= 0] or sorted(members)
    if len(order) > count:
        order = [order[i * len(order) // count] for i in range(count)]
    rounds = max((len(members[label]) for label in order), default=0)
    dealt = [members[label][turn] for turn in range(rounds) for label in order if turn < len(members[label])]
    return sorted(dealt[:count], key=lambda position: (classes[position], position))


def is_indexable(dataset: Dataset) -> bool:
    """Whether single samples can be fetched again by position."""
    return not isinstance(dataset, IterableDataset) and hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
