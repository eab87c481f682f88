"""What a metric is given of an explained batch: the tie between explanations and the metrics that judge them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from livecam.core.batch import Batch
from livecam.core.heads import as_logits, get_head
from livecam.core.normalization import Normalisation
from livecam.explain import Explainer, Explanation, explain
from livecam.metrics import ImageMetric
from livecam.runtime.model_state import as_input, undisturbed


class MaskSource(Protocol):
    """Anything that gives a map to compare with, such as :class:`livecam.evaluation.reference_mask.ReferenceMask`."""

    def masks(self, batch: Batch, normalisation: Normalisation) -> Tensor:
        """Reference maps ``(N, H, W)`` in [0, 1] of a batch normalised with ``normalisation``."""


@dataclass
class Asked:
    """What is explained of a batch: its images, or of multi-label ones every category that they are labelled with.

    Args:
        batch: A row for each.
        owner: Place of the image that each row is of, in the batch that was asked of, ``(M,)``.
        probability: Of the explained class ``(M,)``; None where nobody wants to know.
    """

    batch: Batch
    owner: Tensor
    probability: Tensor | None = None

    def rows(self, keep: Tensor) -> "Asked":
        """Some of them, ``(M,)`` bool or a LongTensor of ascending places."""
        probability = None if self.probability is None else self.probability[keep]
        return Asked(self.batch.rows(keep), self.owner[keep], probability)

    def split(self, size: int) -> list["Asked"]:
        """Parts of at most ``size`` rows: a pass over images of many categories takes no more memory than others."""
        if 0 < len(self.owner) <= size:
            return [self]
        places = torch.arange(len(self.owner), device=self.owner.device)
        return [self.rows(part) for part in places.split(size)] if len(places) else []


def asked_of(
    batch: Batch, target: str, model: nn.Module, head: str, least: float = 0.0, logits: Tensor | None = None
) -> Asked:
    """Take the questions out of a batch.

    Args:
        batch: The batch.
        target: ``label`` or ``predicted``: the explained class. Each image has one predicted class.
        model: The network; asked for probabilities where ``least`` is above 0, at one forward of the batch.
        head: Name of its head.
        least: Least probability that rows will be kept for.
        logits: Of the batch ``(N, K)``, where they are known; they spare that forward.
    """
    if target == "label" and batch.several:
        asked = Asked(batch.by_category(), batch.known_pairs.image)
    else:
        asked = Asked(batch, torch.arange(len(batch), device=batch.image.device))
    if least > 0 and len(asked.owner):
        if logits is None:
            with undisturbed(model, batch.image.device):
                logits = as_logits(model(as_input(model, batch.image))).float()
        found = get_head(head, logits.shape[1])
        targets = asked.batch.label if target == "label" else found.predict(logits)
        found.check_targets(targets, logits)
        asked.probability = found.probability(logits[asked.owner], targets)
    return asked


@dataclass
class Explained:
    """A batch, its explanations by one method, and the network that they explain.

    Args:
        batch: The batch.
        explainer: The method.
        explanation: Its maps.
        model: The network.
        head: Name of its head.
        normalisation: Tie between model input and pixels.
        reference: Another network's maps ``(N, H, W)`` in [0, 1]; None where there is no such network.
    """

    batch: Batch
    explainer: Explainer
    explanation: Explanation
    model: nn.Module
    head: str
    normalisation: Normalisation
    reference: Tensor | None = None

    def evidence(self, metric: ImageMetric, rows: Tensor) -> dict[str, Any]:
        """Arguments of ``metric.measure`` and ``metric.update``, for some images of the batch.

        Args:
            metric: Its arguments' names say what it reads (see :class:`livecam.metrics.ImageMetric`).
            rows: Which images, ``(N,)`` bool or their ascending positions; a metric that reads ``masks`` can only be
                given annotated ones.
        """
        # Ascending positions: so many of them are all, which need no copy.
        every = rows.dtype != torch.bool and len(rows) == len(self.batch)

        def some(values: Tensor) -> Tensor:
            return values if every else values[rows]

        offered: dict[str, Callable[[], Any]] = {
            "maps": lambda: some(getattr(self.explanation, metric.uses)),
            "masks": lambda: some(self.batch.mask),
            "reference": lambda: some(self.reference),
            "categories": lambda: some(self.explanation.target),
            "targets": lambda: some(self.explanation.target),
            "images": lambda: some(self.batch.image),
            "model": lambda: self.model,
            "head": lambda: self.head,
            "normalisation": lambda: self.normalisation,
            "explain": lambda: self._again(metric.uses, rows),
        }
        return {name: offered[name]() for name in metric.reads().parameters}

    def _again(self, uses: str, rows: Tensor) -> Callable[[nn.Module], Tensor]:
        """Explains the same images and classes in another network."""
        images, targets = self.batch.image[rows], self.explanation.target[rows]
        settings = {"head": self.head, "normalisation": self.normalisation}

        def run(model: nn.Module) -> Tensor:
            return getattr(explain(model, images, [self.explainer], targets, **settings)[self.explainer.name], uses)

        return run


def reads(metric: ImageMetric) -> frozenset[str]:
    """Names of what a metric has to be given."""
    return frozenset(metric.reads().parameters)


def check_metrics(metrics: Sequence[ImageMetric], reference: object | None) -> None:
    """Refuse metrics that would overwrite each other, or that lack what they compare with.

    Raises:
        ValueError: With the remedy.
    """
    names = [metric.name for metric in metrics]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"Two metrics are called {name!r}: give one of them another, as name='{name}_2'.")
    for metric in metrics:
        if "reference" in reads(metric) and reference is None:
            raise ValueError(f"{type(metric).__name__} compares with another network: name it as reference.")
