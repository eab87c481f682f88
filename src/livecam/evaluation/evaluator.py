"""One way from a batch to numbers, for live scores and for ``explain.py score``: select, explain, measure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from livecam.core.batch import Batch
from livecam.core.errors import OptionError
from livecam.core.heads import as_logits, get_head
from livecam.core.labels import is_unlabeled
from livecam.core.maps import is_finite
from livecam.core.normalization import Normalization
from livecam.evaluation.fault_tolerance import FaultTolerantExplainer
from livecam.evaluation.oom_backoff import free_memory, internal_batch_size_of, is_oom_error
from livecam.explain import Explainer, Explanation, explain, structure_of
from livecam.explain.forward_reuse import ReusableForward
from livecam.explain.methods.controls import CONTROLS
from livecam.metrics import ImageMetric
from livecam.runtime.failures import FailurePolicy, warn_once
from livecam.runtime.model_state import isolated_eval, to_model_dtype


class MaskSource(Protocol):
    """Gives maps to compare with, such as :class:`livecam.evaluation.reference_mask.ReferenceMask`."""

    def masks(self, batch: Batch, normalization: Normalization) -> Tensor:
        """Reference maps ``(N, H, W)`` in [0, 1] of a batch normalized with ``normalization``."""


@dataclass
class ExplanationTargets:
    """Rows to explain: one per image, or one per (image, label) pair of multi-label batches.

    Args:
        batch: A row for each.
        sample_index: Place of the image that each row is of, in the batch that the rows were selected from, ``(M,)``.
        probability: Of the explained class ``(M,)``; None where nobody wants to know.
    """

    batch: Batch
    sample_index: Tensor
    probability: Tensor | None = None

    def select(self, keep: Tensor) -> "ExplanationTargets":
        """Some of them, ``(M,)`` bool or a LongTensor of ascending places."""
        probability = None if self.probability is None else self.probability[keep]
        return ExplanationTargets(self.batch.select(keep), self.sample_index[keep], probability)

    def split(self, size: int) -> list["ExplanationTargets"]:
        """Parts of at most ``size`` rows: a pass over images of many categories takes no more memory than others."""
        if 0 < len(self.sample_index) <= size:
            return [self]
        places = torch.arange(len(self.sample_index), device=self.sample_index.device)
        return [self.select(part) for part in places.split(size)] if len(places) else []


@dataclass
class ExplainedBatch:
    """Explained rows, and all that metrics may want to know of them.

    Args:
        selected: The rows; their masks are those of the explained classes.
        explanations: By method, without those that failed.
        model: The network.
        head: Name of its head.
        normalization: Tie between model input and pixels.
        source: Gives another network's maps; None where there is no such network.
    """

    selected: ExplanationTargets
    explanations: dict[str, Explanation]
    model: nn.Module
    head: str
    normalization: Normalization
    source: MaskSource | None = None

    @property
    def batch(self) -> Batch:
        """The rows as images."""
        return self.selected.batch

    @cached_property
    def annotated(self) -> Tensor:
        """Which rows have a mask, ``(M,)`` bool."""
        batch = self.batch
        return torch.zeros_like(self.selected.sample_index, dtype=torch.bool) if batch.mask is None else batch.has_mask

    @cached_property
    def reference(self) -> Tensor:
        """Maps ``(M, H, W)`` in [0, 1] of the other network, of the explained class, which need not be the true one."""
        target = next(iter(self.explanations.values())).target
        return self.source.masks(replace(self.batch, label=target), self.normalization)

    def failed(self, method: str) -> Tensor:
        """Which rows a method has no map for, or one of NaN or infinity, ``(M,)`` bool."""
        if method not in self.explanations:
            return torch.ones_like(self.selected.sample_index, dtype=torch.bool)
        return ~is_finite(self.explanations[method].raw)

    def places(self, keep: Tensor | None) -> dict[str, list[Tensor]]:
        """By method, where there are sound maps, and where annotated ones, ``(n,)`` each; one wait for the device."""
        sound = [~self.failed(name) if keep is None else keep & ~self.failed(name) for name in self.explanations]
        chosen = [[rows, rows & self.annotated] for rows in sound]
        if not chosen:
            return {}
        masks = torch.stack([torch.stack(pair) for pair in chosen]).cpu()
        device = self.selected.sample_index.device
        return {
            name: [rows.nonzero()[:, 0].to(device) for rows in pair] for name, pair in zip(self.explanations, masks)
        }


@dataclass
class MetricInputs:
    """The maps of one method, with what metrics set them against; its enlarged maps live as long as that.

    Args:
        explained: The rows.
        explainer: The method.
        explanation: Its maps.
    """

    explained: ExplainedBatch
    explainer: Explainer
    explanation: Explanation

    def kwargs_for(self, metric: ImageMetric, rows: Tensor) -> dict[str, Any]:
        """Arguments of ``metric.per_image`` for the rows at ascending places ``(n,)``; of ``masks``, annotated ones."""
        explained, batch = self.explained, self.explained.batch
        # Ascending places: as many of them as there are rows are all of them, which need no copy.
        every = len(rows) == len(batch)

        def rows_of(values: Tensor) -> Tensor:
            return values if every else values[rows]

        offered: dict[str, Callable[[], Any]] = {
            "maps": lambda: rows_of(getattr(self.explanation, metric.uses)),
            "masks": lambda: rows_of(batch.mask),
            "reference": lambda: rows_of(explained.reference),
            "categories": lambda: rows_of(self.explanation.target),
            "targets": lambda: rows_of(self.explanation.target),
            "images": lambda: rows_of(batch.image),
            "model": lambda: explained.model,
            "head": lambda: explained.head,
            "normalization": lambda: explained.normalization,
            "explain": lambda: self._explain_again(metric.uses, rows_of(batch.image), rows_of(self.explanation.target)),
        }
        return {name: offered[name]() for name in metric.inputs}

    def add_to(self, metric: ImageMetric, values: Tensor, rows: Tensor) -> None:
        """Add what was measured of rows to a metric that adds up."""
        kwargs = self.kwargs_for(metric, rows)
        metric.add(values, kwargs["maps"], kwargs.get("categories"))

    def _explain_again(self, uses: str, images: Tensor, targets: Tensor) -> Callable[[nn.Module], Tensor]:
        """Explains the same images and classes in another network."""
        settings = {"head": self.explained.head, "normalization": self.explained.normalization}

        def run(model: nn.Module) -> Tensor:
            return getattr(explain(model, images, [self.explainer], targets, **settings)[self.explainer.name], uses)

        return run


class Evaluator:
    """Explains batches and measures the maps; whoever asks gets the same numbers of the same batch.

    Args:
        explainers: Methods, each under its own name.
        metrics: What is measured of their maps.
        target: ``label`` or ``predicted``: the explained class.
        failures: What becomes of exceptions of methods.
        min_probability: Least probability of the explained class.
        source: Another network's maps, for metrics that compare with them.
    """

    def __init__(
        self,
        explainers: Sequence[Explainer],
        metrics: Sequence[ImageMetric],
        target: str,
        failures: FailurePolicy,
        min_probability: float = 0.0,
        source: MaskSource | None = None,
    ) -> None:
        self.explainers, self.target, self.min_probability = list(explainers), target, min_probability
        self.source, self.failures, self._explaining = source, failures, FaultTolerantExplainer(failures)
        # Copies: the internal_batch_size of one that runs out of memory gets smaller, for good.
        self._metrics = {metric.name: metric.clone() for metric in metrics}
        # Rows of a pass: images of the largest batch so far.
        self._size = 1

    def select_targets(
        self, model: nn.Module, batch: Batch, head: str, logits: Tensor | None = None
    ) -> tuple[ExplanationTargets, ExplanationTargets | None]:
        """Rows of a batch to explain, and those whose class is less probable than it has to be.

        Args:
            model: The network; asked for probabilities where they matter, at one forward of the batch.
            batch: The batch.
            head: Name of its head.
            logits: Of the batch ``(N, K)``, where they are known; they spare that forward.

        Returns:
            Rows to explain; rows that are left out, None where no probability is asked for.
        """
        self._size = max(self._size, len(batch))
        if self.target == "label" and batch.is_multilabel:
            selected = ExplanationTargets(batch.one_row_per_label(), batch.known_pairs.image)
        else:
            selected = ExplanationTargets(batch, torch.arange(len(batch), device=batch.image.device))
            if self.target == "label":
                # One output is that of two classes.
                classes = max(2, structure_of(model, batch.image).outputs)
                unlabeled = is_unlabeled(batch.label, classes)
                selected = selected.select(~unlabeled) if unlabeled.any() else selected
        if not self.min_probability or not len(selected.sample_index):
            return selected, None
        if logits is None:
            with isolated_eval(model, batch.image.device):
                logits = as_logits(model(to_model_dtype(model, batch.image))).float()
        output_head = get_head(head, logits.shape[1])
        targets = selected.batch.label if self.target == "label" else output_head.predict(logits)
        output_head.check_targets(targets, logits)
        selected.probability = output_head.probability(logits[selected.sample_index], targets)
        sure = selected.probability >= self.min_probability
        return selected.select(sure), selected.select(~sure)

    def explain(
        self,
        model: nn.Module,
        selected: ExplanationTargets,
        head: str,
        normalization: Normalization,
        reusable: ReusableForward | None = None,
        of: Batch | None = None,
    ) -> Iterator[ExplainedBatch]:
        """Explain rows, a batch of them at a time.

        Args:
            model: The network.
            selected: The rows.
            head: Name of its head.
            normalization: Tie between model input and pixels.
            reusable: What another forward of the batch ``of`` showed, whose rows these are.
            of: That batch.
        """
        for part in selected.split(self._size):
            batch = part.batch
            forward = reusable and reusable.of(None if batch is of else part.sample_index)
            targets = batch.label if self.target == "label" else None
            explanations = self._explaining(
                model, batch.image, targets, self.explainers, forward, head=head, normalization=normalization
            )
            if explanations:
                part = replace(part, batch=batch.with_masks_for(next(iter(explanations.values())).target))
            yield ExplainedBatch(part, explanations, model, head, normalization, self.source)

    def jobs(
        self, explained: ExplainedBatch, keep: Tensor | None = None
    ) -> Iterator[tuple[MetricInputs, ImageMetric, Tensor]]:
        """What is to be measured: inputs of each method, a metric, and the rows ``(n,)`` at ascending places.

        A map that failed is no map: it is counted as such, and not measured.

        Args:
            explained: The rows.
            keep: Which of them count, ``(M,)`` bool; None takes all.
        """
        rows = explained.places(keep)
        for explainer in (e for e in self.explainers if e.name in explained.explanations):
            inputs = MetricInputs(explained, explainer, replace(explained.explanations[explainer.name]))
            # A map that reads no network does not change with it.
            fixed = isinstance(explainer, CONTROLS)
            for metric in (m for m in self._metrics.values() if not (fixed and "explain" in m.inputs)):
                places = rows[explainer.name]["masks" in metric.inputs]
                if len(places):
                    yield inputs, metric, places

    def measure(self, metric: ImageMetric, inputs: MetricInputs, rows: Tensor) -> Tensor:
        """Values ``(values, n)`` of the rows at ascending places ``(n,)``; what memory does not hold goes by halves."""
        try:
            return metric.per_image(**inputs.kwargs_for(metric, rows))
        except Exception as error:
            internal_batch_size = internal_batch_size_of(metric)
            if not is_oom_error(error) or max(internal_batch_size, len(rows)) <= 1:
                raise
            method = inputs.explainer.name
            warn_once(
                f"Metric {metric.name!r} ran out of memory for {method!r} and is tried again in smaller portions."
            )
        free_memory()
        if internal_batch_size > 1:
            metric.internal_batch_size = internal_batch_size // 2
        return torch.cat([self.measure(metric, inputs, part) for part in rows.chunk(2)], 1)


def check_metrics(metrics: Sequence[ImageMetric], reference: object | None) -> None:
    """Refuse metrics that would overwrite each other, or that lack what they compare with.

    Raises:
        OptionError: With the remedy.
    """
    names = [metric.name for metric in metrics]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"Two metrics are called {name!r}: give one of them another, as name='{name}_2'.")
    for metric in metrics:
        if "reference" in metric.inputs and reference is None:
            raise OptionError(f"{type(metric).__name__} compares with another network: name it as reference.")
