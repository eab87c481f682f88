"""Labels and class names as people have them: read as class indices and as words, or refused in one sentence."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from livecam.core.errors import DataError

# What losses and readers of masks use for "no label", where it is no class: torch, scikit-learn, PNG.
_UNLABELED = 255


def read_labels(labels: Any) -> Tensor:
    """Read labels of any type of number.

    Args:
        labels: A tensor, an array of numpy, a series of pandas or a list: class indices ``(N,)`` or ``(N, 1)`` of any
            type, where -100, another negative number or NaN stands for no label; the probability of class 1 of a
            one-logit network, in [0, 1]; or multi-hot rows ``(N, C)``.

    Returns:
        Class indices ``(N,)`` int64, negative where there is no label; multi-hot rows as they are.

    Raises:
        DataError: When labels are words, or numbers that are no classes.
    """
    labels = labels if isinstance(labels, Tensor) else _as_tensor(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not (labels.is_floating_point() or labels.dtype == torch.bool):
        return labels.long() if labels.ndim == 1 else labels
    labels = labels.float()
    known = labels.isfinite()
    if bool(((labels == labels.round()) | ~known).all()):
        return labels.where(known, -1).long()
    if bool((((labels >= 0) & (labels <= 1)) | ~known).all()):
        return (labels >= 0.5).long().where(known, -1)
    value = float(labels[known & (labels != labels.round())][0])
    raise DataError(f"Labels such as {value:.4g} are no classes: explanations are of classifiers, not of regression.")


def _as_tensor(labels: Any) -> Tensor:
    values = labels.to_numpy() if hasattr(labels, "to_numpy") else labels
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        first = next(iter(values), None) if hasattr(values, "__iter__") else values
        if isinstance(first, str):
            raise DataError(
                f"Labels are words, such as {first!r}: have the data set give class indices, and name the classes by "
                "class_names."
            ) from error
        raise DataError(f"Labels should be numbers of classes, one for each image, got {type(labels).__name__}.") from (
            error
        )


def is_unlabeled(labels: Tensor, num_classes: int) -> Tensor:
    """Which class indices ``(N,)`` stand for no label: negative ones, and 255 where there is no such class."""
    return (labels < 0) | ((labels == _UNLABELED) & (num_classes <= _UNLABELED))


def read_class_names(names: Any) -> list[str] | None:
    """Read class names in the order of class indices.

    Args:
        names: A list, tuple or array of names; a dict from index to name or from name to index.

    Returns:
        The names; None where there are none, or where it is something else.
    """
    if isinstance(names, Mapping):
        pairs = {index: name for name, index in names.items()} if _are_indices(names.values()) else dict(names)
        if not pairs or not _are_indices(pairs):
            return None
        indices = {int(index): str(name) for index, name in pairs.items()}
        return [indices.get(index, f"class {index}") for index in range(max(indices) + 1)]
    if isinstance(names, str) or not hasattr(names, "__iter__"):
        return None
    return [str(name) for name in names] or None


def _are_indices(values: Any) -> bool:
    return all(hasattr(value, "__index__") and 0 <= int(value) < 1_000_000 for value in values)
