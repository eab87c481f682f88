"""What all galleries share: the same few samples at every validation, chosen once, kept over a resume."""

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, default_collate

from livecam.callbacks.base import LiveExplanation, first_loader
from livecam.core.batch import Batch, concatenate, read_batch
from livecam.core.errors import DataError, OptionError
from livecam.core.labels import read_class_names, read_labels
from livecam.explain import Explainer
from livecam.report.log_media import log_images


class SampleGallery(LiveExplanation, ABC):
    """Base of callbacks that log one picture per fixed sample at each validation.

    The first gallery of a fit shows the untrained network, at step 0. A new kind of gallery defines :meth:`pictures`.

    Args:
        explainers: Methods, each under its own name; none for galleries of something else.
        samples: Number of images.
        class_names: Names in the order of class indices; None asks the datamodule, the module, the data set.
        key: Media key; each gallery of a trainer has its own.
        settings: Of :class:`LiveExplanation`.

    Raises:
        OptionError: When ``samples`` is not in 1..108.
    """

    def __init__(
        self,
        explainers: Sequence[Explainer | str],
        samples: int,
        class_names: Sequence[str] | None,
        key: str,
        **settings: Any,
    ) -> None:
        super().__init__(explainers, **settings)
        if not isinstance(samples, int) or not 1 <= samples <= 108:
            raise OptionError(f"A gallery holds 1 to 108 samples (W&B shows no more), got samples={samples}.")
        self.samples = samples
        self.class_names = read_class_names(class_names)
        self.key = key
        self.indices: list[int] | None = None
        """Positions of the samples in the validation set; None when they were taken from batches."""
        self._batch: Batch | None = None
        self._gathered: list[Batch] = []
        self._shown = False

    @abstractmethod
    def pictures(self, trainer: Trainer, pl_module: LightningModule, batch: Batch) -> list[tuple[np.ndarray, str]]:
        """Draw the samples.

        Every rank calls this, since all are needed to gather a sharded network; only rank zero's pictures count.

        Args:
            trainer: The trainer.
            pl_module: The watched module.
            batch: The samples, on the module's device.

        Returns:
            uint8 picture ``(h, w, 3)`` and caption of each sample; nothing when there is nothing to show.
        """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse two galleries under one key.

        Raises:
            OptionError: Since each would replace the other's pictures.
        """
        super().setup(trainer, pl_module, stage)
        if sum(gallery.key == self.key for gallery in self._galleries(trainer)) > 1:
            raise OptionError(
                f"Two galleries log pictures under {self.key!r}, where the later one replaces the earlier: "
                f"give one of them another key, such as key='{self.key}_2'."
            )

    @property
    def state_key(self) -> str:
        """Identity in checkpoints: galleries of other methods, size or key keep their own state."""
        return f"{super().state_key}[{self.key}, {self.samples}]"

    def state_dict(self) -> dict[str, Any]:
        """Which samples are shown, so that a resumed run goes on with them."""
        return super().state_dict() | {"indices": self.indices}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the samples of the interrupted run."""
        super().load_state_dict(state_dict)
        self.indices = state_dict["indices"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the untrained network, in a row that all galleries share."""
        if trainer.global_step > 0:
            return
        with self.isolated_from_training("the gallery of the untrained network", pl_module):
            self._shown = self._show(trainer, pl_module)
        galleries = self._galleries(trainer)
        if self is galleries[-1] and any(gallery._shown for gallery in galleries):
            for logger in trainer.loggers:
                with self.suppress(f"beginning the history of {type(logger).__name__}"):
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
                with self.isolated_from_training("choosing samples"):
                    self._gather(read_batch(batch))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain and show the samples."""
        if not self.should_run(trainer):
            return
        with self.isolated_from_training("the gallery", pl_module):
            self._show(trainer, pl_module)
        self.log_seconds(pl_module)

    def pixels_of(self, trainer: Trainer, batch: Batch) -> Tensor:
        """The samples as people see them: RGB ``(N, 3, H, W)`` in [0, 1]."""
        return self.normalization_of(trainer).to_pixels(batch.image.float()).clamp(0, 1)

    def names_of(self, batch: Batch) -> list[str]:
        """What each sample is called: its position in the validation set, or in the stream."""
        return [f"#{number}" for number in self.indices or range(len(batch))]

    def class_names_of(self, trainer: Trainer, pl_module: LightningModule) -> list[str] | None:
        """Class names from whoever knows them; None when nobody does."""
        loader = first_loader(trainer)
        dataset = getattr(loader, "dataset", None)
        sources = (
            self.class_names,
            getattr(getattr(trainer, "datamodule", None), "class_names", None),
            getattr(pl_module, "class_names", None),
            pl_module.hparams.get("class_names"),
            getattr(dataset, "classes", None),
            getattr(getattr(dataset, "dataset", None), "classes", None),
        )
        return next((names for names in map(read_class_names, sources) if names), None)

    @staticmethod
    def _galleries(trainer: Trainer) -> list["SampleGallery"]:
        return [callback for callback in trainer.callbacks if isinstance(callback, SampleGallery)]

    def _show(self, trainer: Trainer, pl_module: LightningModule) -> bool:
        batch = self._samples(trainer)
        # Of several labels, all images may have none.
        captioned = self.pictures(trainer, pl_module, batch) if batch else []
        if not captioned or not trainer.is_global_zero:
            return False
        # Private, but the step of Lightning's own scalars: pictures and scores of one validation share it.
        step = trainer.fit_loop.epoch_loop._batches_that_stepped
        pictures, captions = zip(*captioned)
        for logger in trainer.loggers:
            with self.suppress(f"giving the gallery to {type(logger).__name__}"):
                log_images(logger, self.key, pictures, captions, step)
        return True

    def _samples(self, trainer: Trainer) -> Batch | None:
        if self._batch is None:
            loader = first_loader(trainer)
            if loader is None:
                return None
            if is_indexable(loader.dataset):
                self._batch = self._fetch(trainer, loader) if len(loader.dataset) else None
            elif self._gathered:
                # A copy: a view would keep whole batches alive.
                gathered = concatenate(self._gathered)
                first = torch.arange(min(self.samples, len(gathered)), device=gathered.image.device)
                self._batch = self._one_category_each(gathered.select(first))
        return self._batch

    def _fetch(self, trainer: Trainer, loader: DataLoader) -> Batch:
        dataset = loader.dataset
        labels = class_indices(dataset)
        classes = [0] * len(dataset) if labels is None else labels
        if self.indices is None or max(self.indices, default=0) >= len(dataset):
            self.indices = balanced(classes, self.samples)
        samples = {index: dataset[index] for index in self.indices}
        for index in [index for index, sample in samples.items() if sample is None]:
            # A file that cannot be read: another of its class takes the place, for good.
            del samples[index]
            others = (i for i, label in enumerate(classes) if label == classes[index] and i not in samples)
            substitute = next(((i, sample) for i in others if (sample := dataset[i]) is not None), None)
            samples |= [substitute] if substitute else []
        self.indices = sorted(samples, key=lambda index: (classes[index], index))
        raw = (loader.collate_fn or default_collate)([samples[index] for index in self.indices])
        # The datamodule's own transfer hooks run too: some data are normalized there.
        batch = read_batch(trainer.strategy.batch_to_device(raw, dataloader_idx=0))
        return self._one_category_each(batch, None if labels is None else [classes[index] for index in self.indices])

    def _one_category_each(self, batch: Batch, classes: Sequence[int] | None = None) -> Batch:
        """Of multi-label samples whose labels are explained, one category each: a given one, else the first."""
        if self.target != "label" or not batch.is_multilabel:
            return batch
        pairs, rows = batch.known_pairs, {}
        for row, (place, category) in enumerate(zip(pairs.image.tolist(), pairs.category.tolist())):
            if classes is None or classes[place] == category:
                rows.setdefault(place, row)
        if self.indices is not None:
            # Without any category there is nothing to explain.
            self.indices = [self.indices[place] for place in rows]
        keep = torch.tensor([*rows.values()], dtype=torch.long, device=batch.image.device)
        return batch.one_row_per_label().select(keep)

    def _gather(self, batch: Batch) -> None:
        if sum(len(part) for part in self._gathered) < self.samples:
            self._gathered.append(batch)


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
    try:
        targets = read_labels(targets)
    except DataError:
        return _numbered(targets)
    if targets.ndim == 2:
        targets = targets >= 0.5
        rarity = 1 / targets.sum(0).clamp_min(1)
        rarest = (targets * rarity).argmax(1)
        targets = rarest.where(targets.any(1), torch.tensor(-1))
    return targets.tolist() if targets.ndim == 1 else None


def _numbered(words: Any) -> list[int]:
    """Numbers of classes that are words, in alphabetical order."""
    words = [str(word) for word in (words.to_numpy() if hasattr(words, "to_numpy") else words)]
    order = {word: number for number, word in enumerate(sorted(set(words)))}
    return [order[word] for word in words]


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
