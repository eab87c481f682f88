"""ExplanationScores: any metric of any explainer over validation batches, on all ranks."""

import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from livecam.batch import Batch, read_batch
from livecam.callbacks.live import LiveExplanation, Target, genuine
from livecam.explain import Explainer
from livecam.metrics import ImageMetric, LocalizationScore, ReferenceLocalizationScore, Sharpness
from livecam.normalisation import Normalisation
from livecam.report.tables import log_scores, print_scores


class MaskSource(Protocol):
    """Anything that gives a map to compare with, such as :class:`livecam.reference.ReferenceMask`."""

    def masks(self, batch: Batch, normalisation: Normalisation) -> Tensor:
        """Reference maps ``(N, H, W)`` in [0, 1] of a batch normalised with ``normalisation``."""


class ExplanationScores(LiveExplanation):
    """Scores explanations over the validation set and logs ``val/<metric>/<method>``.

    Args:
        explainers: Methods, each under its own name.
        metrics: What to measure; None takes LocalizationScore (where masks exist) and Sharpness.
        batches: How many validation batches to explain; None takes all.
        reference: Another network's maps as ground truth, logged beside the scores against annotated masks.
        target: ``label`` or ``predicted``.
        every_n_validations: See :class:`LiveExplanation`.
        head: See :class:`LiveExplanation`.
        normalisation: See :class:`LiveExplanation`.
        strict: See :class:`LiveExplanation`.
    """

    def __init__(
        self,
        explainers: Sequence[Explainer | str],
        metrics: Sequence[ImageMetric] | None = None,
        batches: int | None = None,
        reference: MaskSource | None = None,
        target: Target = "label",
        every_n_validations: int = 1,
        head: str = "auto",
        normalisation: Normalisation | None = None,
        strict: bool = False,
    ) -> None:
        super().__init__(explainers, target, every_n_validations, head, normalisation, strict)
        self.metrics = [LocalizationScore(), Sharpness()] if metrics is None else list(metrics)
        self.batches = batches
        self.reference = reference
        self.results: dict[str, dict[str, float]] = {}
        """Latest scores: metric key -> method -> value."""
        self._running: dict[str, list[ImageMetric]] = {}
        self._position = 0
        self._unannotated = 0

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with empty metrics."""
        kinds = [*self.metrics, *([ReferenceLocalizationScore()] if self.reference else [])]
        self._running = {e.name: [metric.clone().to(pl_module.device) for metric in kinds] for e in self.explainers}
        for metrics in self._running.values():
            for metric in metrics:
                metric.reset()
        self._position = self._unannotated = 0

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
        beyond = self.batches is not None and batch_idx >= self.batches
        if dataloader_idx > 0 or beyond or not self.due(trainer):
            return
        with self.harmless("scoring a batch"):
            self._score(trainer, pl_module, read_batch(batch))

    def _score(self, trainer: Trainer, pl_module: LightningModule, batch: Batch) -> None:
        keep = genuine(trainer, batch, self._position)
        self._position += len(batch)
        annotated = keep & batch.has_mask if batch.mask is not None else torch.zeros_like(keep)
        self._unannotated += int((keep & ~annotated).sum())
        explanations = self.explain(trainer, pl_module, batch)
        truth: dict[str | None, tuple[Tensor, Tensor | None]] = {None: (keep, None), "mask": (annotated, batch.mask)}
        if self.reference:
            truth["reference"] = (keep, self.reference.masks(batch, self.normalisation_of(trainer)))
        for name, explanation in explanations.items():
            for metric in self._running[name]:
                chosen, masks = truth[metric.compares_with]
                if chosen.any():
                    maps = getattr(explanation, metric.uses)[chosen]
                    metric.update(maps) if masks is None else metric.update(maps, masks[chosen])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reduce over ranks and log; every rank takes part."""
        if not self.due(trainer) or not self._running:
            return
        with self.harmless("reducing scores"):
            self._reduce(pl_module)
            self._count_unreadable(trainer, pl_module)
        self.log_seconds(pl_module)

    def _reduce(self, pl_module: LightningModule) -> None:
        self.results = {}
        for method, metrics in self._running.items():
            for metric in metrics:
                with warnings.catch_warnings():
                    # No update is an ordinary case: a set without masks. Other ranks may have had some.
                    warnings.filterwarnings("ignore", message=".*before the ``update`` method.*")
                    values = metric.compute()
                if not int(values["n"]) and not int(values["undefined"]):
                    continue
                for part, value in values.items():
                    key = metric.name if part == metric.parts[0] else f"{metric.name}_{part}"
                    self.results.setdefault(key, {})[method] = float(value)
                    if value.isfinite():
                        pl_module.log(f"val/{key}/{method}", value.float(), sync_dist=True)
        if any(metric.compares_with == "mask" for metric in self.metrics):
            missing = torch.tensor(float(self._unannotated), device=pl_module.device)
            pl_module.log("val/images_without_mask", missing, sync_dist=True, reduce_fx="sum")

    def _count_unreadable(self, trainer: Trainer, pl_module: LightningModule) -> None:
        count = getattr(getattr(trainer, "datamodule", None), "unreadable", None)
        if isinstance(count, int):
            pl_module.log(
                "val/unreadable_images",
                torch.tensor(float(count), device=pl_module.device),
                sync_dist=True,
                reduce_fx="sum",
            )

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
            with self.harmless("the closing table"):
                print_scores(self.results, self.explainers, trainer.callback_metrics)
                log_scores(self.results, self.explainers, trainer.loggers)
