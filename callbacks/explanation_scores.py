"""ExplanationScores: any metric of any explainer over validation batches, on all ranks."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from livecam.callbacks.base import LiveExplanation, Target, non_padding_mask
from livecam.core.batch import Batch, batch_size_of, read_batch
from livecam.core.errors import LivecamError, OptionError
from livecam.core.normalization import Normalization
from livecam.core.validation import check_number
from livecam.evaluation.evaluator import Evaluator, ExplainedBatch, MaskSource, check_metrics
from livecam.explain import Explainer
from livecam.explain.forward_reuse import ForwardReuse
from livecam.explain.methods.controls import CenteredGaussian
from livecam.metrics import ImageMetric, LocalizationScore, ReferenceLocalizationScore, Sharpness
from livecam.report.tables import log_scores, print_scores
from livecam.runtime.progress import no_progress


class ExplanationScores(LiveExplanation):
    """Scores explanations over the validation set and logs ``val/<metric>/<method>``.

    Scores against ground truth have a ``centered_gaussian`` beside them, which knows nothing of the image: the line to
    beat. Metrics that run the network cost passes; give them a callback of their own, with few ``batches`` on
    every n-th validation.

    Args:
        explainers: Methods, each under its own name.
        metrics: What to measure; None takes LocalizationScore (where masks exist) and Sharpness.
        batches: How many validation batches to explain, spread over all of them, because files often come class by
            class; of a stream without a length, the first. None takes all.
        reference: Another network's maps as ground truth, logged beside the scores against annotated masks.
        control: Whether a centered Gaussian is scored too, by the metrics that compare with ground truth.
        target: ``label`` or ``predicted``; of multi-label images every labeled category is explained.
        min_probability: Explain only where the network gives the explained class at least this probability; how many
            others there were is logged. Pointing games on multi-label images ask for 0.5.
        every_n_validations: See :class:`LiveExplanation`.
        head: See :class:`LiveExplanation`.
        normalization: See :class:`LiveExplanation`.
        strict: See :class:`LiveExplanation`.
    """

    def __init__(
        self,
        explainers: Sequence[Explainer | str],
        metrics: Sequence[ImageMetric] | None = None,
        batches: int | None = None,
        reference: MaskSource | None = None,
        control: bool = True,
        target: Target = "label",
        min_probability: float = 0.0,
        every_n_validations: int = 1,
        head: str = "auto",
        normalization: Normalization | None = None,
        strict: bool = False,
        **unknown: Any,
    ) -> None:
        if "baseline" in unknown:
            raise OptionError("ExplanationScores has no baseline: control says whether a centered Gaussian is scored.")
        if unknown:
            raise TypeError(f"ExplanationScores takes no argument {next(iter(unknown))!r}.")
        super().__init__(explainers, target, every_n_validations, head, normalization, strict)
        self.metrics = [LocalizationScore(), Sharpness()] if metrics is None else list(metrics)
        if reference and not any("reference" in metric.inputs for metric in self.metrics):
            self.metrics.append(ReferenceLocalizationScore())
        check_metrics(self.metrics, reference)
        check_number("min_probability", min_probability, 0, 1)
        self.batches = batches
        self.reference = reference
        self.min_probability = min_probability
        self.results: dict[str, dict[str, float]] = {}
        """Latest scores: metric key -> method -> value."""
        gaussian = CenteredGaussian()
        names = {explainer.name for explainer in self.explainers}
        self._control = gaussian if control and gaussian.name not in names else None
        controls = [self._control] if self._control else []
        self._evaluator = Evaluator(
            [*self.explainers, *controls], self.metrics, target, self._failures, min_probability, reference
        )
        self._running: dict[str, dict[str, ImageMetric]] = {}
        self._position = 0
        self._left_out = SkippedCounts.nothing(torch.device("cpu"))
        self._unit = "images"
        self._forward_reuse = ForwardReuse()

    @property
    def state_key(self) -> str:
        """Identity in checkpoints: callbacks of the same methods differ by what they measure."""
        return f"{super().state_key}[{','.join(metric.name for metric in self.metrics)}]"

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with empty metrics."""
        metrics_of = {explainer.name: self.metrics for explainer in self.explainers}
        if self._control:
            # A map of no network can be judged for nothing by what compares with ground truth.
            metrics_of[self._control.name] = [
                metric for metric in self.metrics if {"masks", "reference"} & metric.inputs
            ]
        self._running = {
            name: {metric.name: metric.clone().to(pl_module.device) for metric in metrics}
            for name, metrics in metrics_of.items()
        }
        for metrics in self._running.values():
            for metric in metrics.values():
                metric.reset()
        self._position = 0
        self._left_out = SkippedCounts.nothing(pl_module.device)
        self._forward_reuse.begin()

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Record the forward of the validation step, which may be all that is needed."""
        if dataloader_idx > 0 or not self.should_run(trainer) or not self._is_selected_batch(trainer, batch_idx):
            return
        with self.isolated_from_training("recording the validation step"), suppress(LivecamError):
            # A batch that cannot be read is told of where it is scored.
            self._forward_reuse.attach(pl_module, read_batch(batch).image, self.explainers)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave no hook behind."""
        self._forward_reuse.stop()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Explain the batch and add it to every metric."""
        if dataloader_idx > 0 or not self.should_run(trainer):
            return
        # Until it is known which maps there are, all of them are missing.
        missing = batch_size_of(batch) if self._is_selected_batch(trainer, batch_idx) else 0
        try:
            with self.isolated_from_training("scoring a batch", pl_module):
                read, position = read_batch(batch), self._position
                self._position += len(read)
                if missing:
                    for rows in self._score(trainer, pl_module, read, position):
                        missing -= rows
        finally:
            self._left_out.failed += max(0, missing) * len(self.explainers)
            self._forward_reuse.stop()

    def _is_selected_batch(self, trainer: Trainer, batch_idx: int) -> bool:
        total = trainer.num_val_batches[0]
        if self.batches is None or self.batches >= total:
            return True
        if total == math.inf:
            return batch_idx < self.batches
        # One of each of so many equal stretches.
        return (batch_idx * self.batches) % total < self.batches

    def _score(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, position: int) -> Iterator[int]:
        """Score a batch part by part; yields how many of its rows are done with."""
        keep = non_padding_mask(trainer, batch, position)
        head, normalization = self.head_of(pl_module, batch), self.normalization_of(trainer)
        reusable = self._forward_reuse.reusable(self.explainers, head=head, normalization=normalization)
        logits = reusable.recorder.logits() if reusable and self.min_probability else None
        selected, unsure = self._evaluator.select_targets(pl_module, batch, head, logits)
        asked = torch.zeros_like(keep).index_fill(0, selected.sample_index, True)
        if unsure is not None:
            self._left_out.unsure += keep[unsure.sample_index].sum()
            asked = asked.index_fill(0, unsure.sample_index, True)
        self._left_out.unlabeled += (keep & ~asked).sum()
        # What is not asked for is not missing.
        yield len(batch) - len(selected.sample_index)
        if selected.batch.present is not None:
            self._unit = "pairs of image and category"
        with no_progress():
            for explained in self._evaluator.explain(pl_module, selected, head, normalization, reusable, batch):
                self._add(explained, keep[explained.selected.sample_index])
                yield len(explained.selected.sample_index)

    def _add(self, explained: ExplainedBatch, keep: Tensor) -> None:
        for explainer in self.explainers:
            self._left_out.failed += (keep & explained.failed(explainer.name)).sum()
        self._left_out.unannotated += (keep & ~explained.annotated).sum()
        if self.reference and explained.explanations:
            with self.suppress("asking the reference"):
                explained.reference  # noqa: B018  kept by the property, for all metrics and methods
        for inputs, metric, rows in self._evaluator.jobs(explained, keep):
            method = inputs.explainer.name
            running = self._running[method].get(metric.name)
            if running is None or ("reference" in metric.inputs and "reference" not in vars(explained)):
                continue
            # Every rank goes on to reduce it, with the images it has: one that leaves would make the others wait.
            with self._failures.suppress(f"Metric {metric.name!r} failed for {method!r}, images are left out."):
                inputs.add_to(running, self._evaluator.measure(metric, inputs, rows), rows)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reduce over ranks and log; every rank takes part."""
        if not self.should_run(trainer) or not self._running:
            return
        with self.isolated_from_training("reducing scores"):
            self._reduce(pl_module)
            self._log_left_out(trainer, pl_module)
        self.log_seconds(pl_module)

    def _reduce(self, pl_module: LightningModule) -> None:
        self.results = {}
        for method, metrics in self._running.items():
            for metric in metrics.values():
                with warnings.catch_warnings():
                    # No update is an ordinary case: a set without masks. Other ranks may have had some.
                    warnings.filterwarnings("ignore", message=".*before the ``update`` method.*")
                    values = metric.compute()
                if not int(values["n"]) and not int(values["undefined"]):
                    continue
                for part, value in values.items():
                    key = metric.name if part == metric.value_names[0] else f"{metric.name}_{part}"
                    self.results.setdefault(key, {})[method] = float(value)
                    if value.isfinite():
                        pl_module.log(f"val/{key}/{method}", value.float(), sync_dist=True)

    def _log_left_out(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log how many images had no mask or could not be read; of several callbacks one does, or they would add up."""
        # Callbacks with other methods add theirs under the same key.
        counts: dict[str, Tensor | int] = {"val/failed_maps": self._left_out.failed}
        if self is _first(trainer, lambda callback: any("masks" in metric.inputs for metric in callback.metrics)):
            counts["val/images_without_mask"] = self._left_out.unannotated
        if self is _first(trainer, lambda callback: callback.target == "label"):
            counts["val/images_without_label"] = self._left_out.unlabeled
        least = self.min_probability
        if least > 0 and self is _first(trainer, lambda callback: callback.min_probability == least):
            counts[f"val/below_probability_{least:g}"] = self._left_out.unsure
        unreadable = getattr(getattr(trainer, "datamodule", None), "unreadable", None)
        if isinstance(unreadable, int) and self is _first(trainer, lambda callback: True):
            counts["val/unreadable_images"] = unreadable
        for key, count in counts.items():
            value = torch.as_tensor(count, dtype=torch.float32, device=pl_module.device)
            pl_module.log(key, value, sync_dist=True, reduce_fx="sum")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the scores of a validation of its own."""
        super().on_validation_end(trainer, pl_module)
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._show(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the latest scores."""
        self._show(trainer)

    def _show(self, trainer: Trainer) -> None:
        """Print the table and give it to the loggers."""
        if trainer.is_global_zero and self.results:
            with self.isolated_from_training("the closing table"):
                methods = [*self.explainers, *([self._control] if self._control else [])]
                print_scores(self.results, methods, trainer.callback_metrics, self._unit)
                for logger in trainer.loggers:
                    with self.suppress(f"giving the scores to {type(logger).__name__}"):
                        log_scores(self.results, methods, logger)


def _first(trainer: Trainer, condition: Callable[[ExplanationScores], bool]) -> ExplanationScores | None:
    """The first of the callbacks that score in this validation, and for which a condition holds."""
    callbacks = (
        callback
        for callback in trainer.callbacks
        if isinstance(callback, ExplanationScores) and callback.should_run(trainer)
    )
    return next((callback for callback in callbacks if condition(callback)), None)


@dataclass
class SkippedCounts:
    """Counts of one validation, on the device: to read one at every batch would wait for it.

    Args:
        failed: Maps that a method could not make, or that hold NaN or infinity.
        unannotated: Images without a mask.
        unsure: Images, or pairs of image and category, whose class the network gives too small a probability.
        unlabeled: Images without a label, where labels are explained.
    """

    failed: Tensor
    unannotated: Tensor
    unsure: Tensor
    unlabeled: Tensor

    @classmethod
    def nothing(cls, device: torch.device) -> "SkippedCounts":
        """All counts at zero."""
        return cls(*torch.zeros(4, dtype=torch.long, device=device))
