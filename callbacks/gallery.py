"""ExplanationGallery: the same few images, explained at every validation, one labelled strip each."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader, default_collate

from livecam.batch import Batch, read_batch
from livecam.callbacks.live import LiveExplanation, Target, first_loader
from livecam.callbacks.samples import balanced, class_indices, is_indexable, untouched_rng
from livecam.explain import Explainer
from livecam.metrics import localization_score, object_mask
from livecam.normalisation import Normalisation
from livecam.report.media import log_images, log_table
from livecam.report.strips import Sample, samples_of

_log = logging.getLogger(__name__)


class ExplanationGallery(LiveExplanation):
    """Logs one strip per fixed sample: input, ground truth and one column per method.

    The first gallery of a fit shows the untrained network, at step 0.

    Args:
        explainers: Methods, each under its own name.
        samples: Number of images; W&B shows at most 108 per key.
        target: ``predicted`` or ``label``.
        every_n_validations: See :class:`LiveExplanation`.
        head: See :class:`LiveExplanation`.
        normalisation: See :class:`LiveExplanation`.
        class_names: Names in the order of class indices; None asks the datamodule, the module, the data set.
        key: Media key.
        strict: See :class:`LiveExplanation`.

    Raises:
        ValueError: When ``samples`` is not in 1..108.
    """

    def __init__(
        self,
        explainers: Sequence[Explainer],
        samples: int = 8,
        target: Target = "predicted",
        every_n_validations: int = 1,
        head: str = "auto",
        normalisation: Normalisation | None = None,
        class_names: Sequence[str] | None = None,
        key: str = "explanations/gallery",
        strict: bool = False,
    ) -> None:
        super().__init__(explainers, target, every_n_validations, head, normalisation, strict)
        if not 1 <= samples <= 108:
            raise ValueError(f"A gallery holds 1 to 108 samples (W&B shows no more), got samples={samples}.")
        self.samples = samples
        self.class_names = list(class_names) if class_names is not None else None
        self.key = key
        self.indices: list[int] | None = None
        """Positions of the samples in the validation set; None when they were taken from batches."""
        self._batch: Batch | None = None
        self._gathered: list[Any] = []
        self._last: list[Sample] = []
        self._strips: list[np.ndarray] = []

    def state_dict(self) -> dict[str, Any]:
        """Which samples are shown, so that a resumed run goes on with them."""
        return super().state_dict() | {"indices": self.indices}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the samples of the interrupted run."""
        super().load_state_dict(state_dict)
        self.indices = state_dict["indices"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the untrained network, in a row of its own."""
        if trainer.global_step > 0:
            return
        with self.harmless("the gallery of the untrained network"):
            if self._show(trainer, pl_module):
                for logger in trainer.loggers:
                    logger.log_metrics({"val/explanation_seconds": 0.0, "epoch": 0}, step=0)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget batches of the last validation."""
        self._gathered = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first samples of streams, which cannot be asked for a sample again."""
        if self._batch is None and dataloader_idx == 0 and not trainer.sanity_checking:
            loader = first_loader(trainer)
            if loader is not None and not is_indexable(loader.dataset):
                with self.harmless("choosing samples"):
                    self._gather(read_batch(batch))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain and show the samples."""
        if not self.due(trainer):
            return
        with self.harmless("the gallery"):
            self._show(trainer, pl_module)
        self.log_seconds(pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the last gallery as a table, once."""
        if not trainer.is_global_zero or not self._last:
            return
        with self.harmless("the closing gallery table"):
            methods = list(self._last[0].overlays)
            columns = ["sample", "label", "predicted", "explained", "probability", *(f"inside {m}" for m in methods)]
            rows = [
                [s.name, s.label or "", s.predicted, s.explained, s.probability, *(s.inside.get(m) for m in methods)]
                for s in self._last
            ]
            for logger in trainer.loggers:
                log_table(logger, f"{self.key}_table", columns, rows, self._strips)

    def _show(self, trainer: Trainer, pl_module: LightningModule) -> bool:
        batch = self._samples(trainer)
        if batch is None:
            return False
        # Every rank runs the same forward (sharded models need it); rank zero draws and logs.
        explanations = self.explain(trainer, pl_module, batch)
        if not trainer.is_global_zero or not explanations:
            return False
        known = batch.mask is not None
        inside = {name: _inside(explanation.energy, batch) for name, explanation in explanations.items() if known}
        self._last = samples_of(
            self.normalisation_of(trainer).to_pixels(batch.image.float()).clamp(0, 1),
            explanations,
            self.explainers,
            [f"#{number}" for number in self.indices or range(len(batch))],
            self._names(trainer, pl_module),
            batch.label,
            batch.mask,
            batch.has_mask,
            inside,
        )
        self._strips = [sample.strip(with_truth=known and bool(batch.has_mask.any())) for sample in self._last]
        # Private, but the step of Lightning's own scalars: pictures and scores of one validation share it.
        step = trainer.fit_loop.epoch_loop._batches_that_stepped
        for logger in trainer.loggers:
            log_images(logger, self.key, self._strips, [s.caption for s in self._last], step)
        return True

    def _samples(self, trainer: Trainer) -> Batch | None:
        if self._batch is None:
            loader = first_loader(trainer)
            if loader is None:
                return None
            if is_indexable(loader.dataset):
                with untouched_rng():
                    self._batch = self._fetch(trainer, loader)
            elif self._gathered:
                self._batch = _concatenate(self._gathered, self.samples)
        return self._batch

    def _fetch(self, trainer: Trainer, loader: DataLoader) -> Batch:
        dataset = loader.dataset
        classes = class_indices(dataset) or [0] * len(dataset)
        if self.indices is None or max(self.indices, default=0) >= len(dataset):
            self.indices = balanced(classes, self.samples)
        samples = {index: dataset[index] for index in self.indices}
        for index in [index for index, sample in samples.items() if sample is None]:
            # A file that cannot be read: another of its class takes the place, for good.
            del samples[index]
            others = (i for i, label in enumerate(classes) if label == classes[index] and i not in samples)
            found = next(((i, sample) for i in others if (sample := dataset[i]) is not None), None)
            samples |= [found] if found else []
        self.indices = sorted(samples, key=lambda index: (classes[index], index))
        raw = (loader.collate_fn or default_collate)([samples[index] for index in self.indices])
        # The datamodule's own transfer hooks run too: some data are normalised there.
        return read_batch(trainer.strategy.batch_to_device(raw, dataloader_idx=0))

    def _gather(self, batch: Batch) -> None:
        if sum(len(part) for part in self._gathered) < self.samples:
            self._gathered.append(batch)

    def _names(self, trainer: Trainer, pl_module: LightningModule) -> list[str] | None:
        loader = first_loader(trainer)
        dataset = getattr(loader, "dataset", None)
        sources = (
            self.class_names,
            getattr(getattr(trainer, "datamodule", None), "class_names", None),
            getattr(pl_module, "class_names", None) or pl_module.hparams.get("class_names"),
            getattr(dataset, "classes", None) or getattr(getattr(dataset, "dataset", None), "classes", None),
        )
        return next((list(names) for names in sources if names), None)


def _inside(energy: torch.Tensor, batch: Batch) -> torch.Tensor:
    return localization_score(energy, object_mask(batch.mask))


def _concatenate(batches: list[Batch], count: int) -> Batch:
    def join(name: str) -> torch.Tensor | None:
        parts = [getattr(batch, name) for batch in batches]
        return None if parts[0] is None else torch.cat(parts)[:count].clone()

    return Batch(**{name: join(name) for name in ("image", "label", "mask", "has_mask", "index")})
