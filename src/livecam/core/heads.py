"""What a network's outputs mean: the one place that knows about softmax, one-logit and multi-label heads.

Explanations ask for the *score* of a class (a logit, what gradients are taken of) and for its *probability*
(what perturbation methods and metrics read). A one-logit network with output z scores class 1 by z and class 0 by -z.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from livecam.core.errors import OptionError, UnsupportedNetworkError
from livecam.core.validation import suggest


class Head(ABC):
    """Reads logits ``(N, K)``; targets are a LongTensor ``(N,)`` of class indices."""

    name: str

    @abstractmethod
    def num_classes(self, logits: Tensor) -> int:
        """Number of classes that a target may name."""

    @abstractmethod
    def probabilities(self, logits: Tensor) -> Tensor:
        """Probability of every class, ``(N, num_classes)`` in [0, 1]."""

    @abstractmethod
    def loss(self, logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Mean training loss against labels (class indices ``(N,)``, or multi-hot ``(N, K)`` for multilabel)."""

    def score(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logit of each sample's target class, ``(N,)``."""
        return logits.gather(1, targets[:, None])[:, 0]

    def probability(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Probability of each sample's target class, ``(N,)`` in [0, 1]."""
        return self.probabilities(logits).gather(1, targets[:, None])[:, 0]

    def predict(self, logits: Tensor) -> Tensor:
        """Most probable class of each sample, ``(N,)`` LongTensor."""
        return logits.argmax(1)

    def class_weights(self, weight: Tensor, targets: Tensor) -> Tensor:
        """Rows ``(N, C)`` of a final linear layer's weight ``(K, C)`` that make up each target's score."""
        return weight[targets]

    def check_targets(self, targets: Tensor, logits: Tensor) -> None:
        """Refuse a class index that the network does not have.

        Raises:
            ValueError: When a target lies outside ``[0, num_classes)``.
        """
        classes = self.num_classes(logits)
        wrong = targets[(targets < 0) | (targets >= classes)]
        if len(wrong):
            raise OptionError(
                f"Target class {int(wrong[0])} is out of range: with the {self.name} head this network has "
                f"{classes} classes, 0 to {classes - 1}."
            )


class Softmax(Head):
    """Exactly one class per image; K logits."""

    name = "softmax"

    def num_classes(self, logits: Tensor) -> int:
        return logits.shape[1]

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.softmax(1)

    def loss(self, logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


class Binary(Head):
    """Two classes, one logit z; class 1 is predicted iff z > 0."""

    name = "binary"

    def num_classes(self, logits: Tensor) -> int:
        if logits.shape[1] != 1:
            raise UnsupportedNetworkError(f"The binary head reads one logit, this network returns {logits.shape[1]}.")
        return 2

    def probabilities(self, logits: Tensor) -> Tensor:
        return torch.cat([(-logits).sigmoid(), logits.sigmoid()], 1)

    def loss(self, logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        targets = labels.to(logits.dtype) * (1 - label_smoothing) + label_smoothing / 2
        return F.binary_cross_entropy_with_logits(logits[:, 0], targets)

    def score(self, logits: Tensor, targets: Tensor) -> Tensor:
        return logits[:, 0] * self._sign(targets, logits)

    def predict(self, logits: Tensor) -> Tensor:
        return (logits[:, 0] > 0).long()

    def class_weights(self, weight: Tensor, targets: Tensor) -> Tensor:
        return weight * self._sign(targets, weight)[:, None]

    @staticmethod
    def _sign(targets: Tensor, like: Tensor) -> Tensor:
        return (2 * targets - 1).to(like.dtype)


class Multilabel(Head):
    """Any number of classes per image; K independent logits."""

    name = "multilabel"

    def num_classes(self, logits: Tensor) -> int:
        return logits.shape[1]

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def loss(self, logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        targets = labels.to(logits.dtype) * (1 - label_smoothing) + label_smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, targets)


HEADS: dict[str, Head] = {head.name: head for head in (Softmax(), Binary(), Multilabel())}


def get_head(name: str, num_outputs: int | None = None) -> Head:
    """Find a head by name.

    Args:
        name: ``softmax``, ``binary``, ``multilabel`` or ``auto`` (one output is binary, several are softmax;
            multi-label networks look like softmax ones, so they are always named).
        num_outputs: Number of logits; needed for ``auto``.

    Raises:
        ValueError: When the name is unknown.
    """
    if name == "auto" and num_outputs is not None:
        return HEADS["binary" if num_outputs == 1 else "softmax"]
    if name not in HEADS:
        raise OptionError(f"Unknown head {name!r}: use softmax, binary, multilabel or auto.{suggest(name, HEADS)}")
    return HEADS[name]


def as_logits(output: Any) -> Tensor:
    """Take the logits ``(N, K)`` out of whatever a classifier's forward returns.

    Args:
        output: A tensor ``(N, K)`` or ``(N,)``, a (named) tuple or object with ``logits``, a tuple in which one tensor
            alone can be the logits, or a dict with ``logits`` or ``out``.

    Raises:
        UnsupportedNetworkError: When no logits can be found, when several tensors could be meant, or when they are not
            ``(N, K)``.
    """
    if isinstance(output, dict):
        output = output.get("logits", output.get("out"))
    elif not isinstance(output, Tensor):
        output = output.logits if hasattr(output, "logits") else _only_rows(output)
    if not isinstance(output, Tensor):
        raise UnsupportedNetworkError("The forward returned no logits: return a tensor (N, K), or a dict with it.")
    if output.ndim == 1:
        return output[:, None]
    if output.ndim != 2:
        raise UnsupportedNetworkError(
            f"Logits have the shape (N, K), the model's forward returned {tuple(output.shape)}."
        )
    return output


def _only_rows(output: Any) -> Tensor | None:
    tensors = [part for part in output if isinstance(part, Tensor)] if isinstance(output, tuple | list) else []
    rows = [tensor for tensor in tensors if tensor.ndim == 2]
    if len(rows) > 1:
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in rows)
        raise UnsupportedNetworkError(
            f"The forward returned tensors {shapes}, each of which may be logits: return one, or a dict with 'logits'."
        )
    return next(iter(rows or tensors), None)
