"""One pass over a data set that explains every image and measures the maps, on any number of devices."""

import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.utils.data import DataLoader

from livecam.core.batch import Batch, read_batch
from livecam.core.errors import OptionError
from livecam.evaluation.datasets import Numbered
from livecam.evaluation.evaluator import Evaluator, ExplainedBatch, ExplanationTargets
from livecam.evaluation.kept_maps import keep_maps
from livecam.evaluation.loaded_network import Network
from livecam.evaluation.score_store import ScoreFolder
from livecam.explain import Explanation
from livecam.explain.methods.controls import CONTROLS
from livecam.metrics import ImageMetric
from livecam.runtime.progress import Bars, reporting_to
from livecam.training.resume import TERMINATED


class Scorer(LightningModule):
    """Explains batches and writes a row per image and method.

    Args:
        network: What is explained.
        evaluator: Explains and measures batches.
        folder: Where rows go.
        files: Name of each image of the data set, by index, where they have names.
        kept: Indices of images whose maps are kept, to be drawn.
        data: The data module; what it does to batches on their way to the device is done here too.
    """

    def __init__(
        self,
        network: Network,
        evaluator: Evaluator,
        folder: ScoreFolder,
        files: Sequence[str] | None = None,
        kept: Sequence[int] = (),
        data: LightningDataModule | None = None,
    ) -> None:
        super().__init__()
        # The same numbers up to rounding, and many networks are faster so.
        self.model = network.model.to(memory_format=torch.channels_last)
        self.network, self.evaluator, self.data = network, evaluator, data
        self.folder, self.files, self.kept = folder, files, frozenset(kept)
        self.bars: Bars | None = None
        self._settled = False
        self._drawn: set[int] = set()

    def on_predict_start(self) -> None:
        """Open this rank's file."""
        self._writer = self.folder.open(self.global_rank)

    def on_before_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """What the data module does before a batch is moved."""
        return self._through(batch, "on_before_batch_transfer")

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """What the data module does to a batch on the device, such as normalizing it."""
        return self._through(batch, "on_after_batch_transfer")

    def _through(self, batch: dict[str, Any], hook: str) -> dict[str, Any]:
        if self.data is None or batch["content"] is None:
            return batch
        self.data.trainer = self.trainer
        return batch | {"content": getattr(self.data, hook)(batch["content"], 0)}

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Score one batch; nothing is kept in memory."""
        if self.trainer.received_sigterm:
            # Lightning takes the signal and looks at it in training and validation, not here.
            raise SIGTERMException(TERMINATED)
        index = batch["index"]
        if len(index):
            with warnings.catch_warnings():
                # Once is enough for what a method says of every batch.
                warnings.simplefilter("ignore" if self._settled else "once", UserWarning)
                self._writer.write(self._rows(index.tolist(), read_batch(batch["content"])))
        if self.bars:
            self.bars.advance(batch["count"] * self.trainer.world_size)

    def on_predict_end(self) -> None:
        """Close the file, and wait for the other ranks to have closed theirs."""
        self._writer.close()
        self.trainer.strategy.barrier()

    def _rows(self, numbers: list[int], batch: Batch) -> list[dict[str, Any]]:
        head, normalization = self.network.head, self.network.normalization
        selected, unsure = self.evaluator.select_targets(self.model, batch, head)
        rows: dict[int, list[dict[str, Any]]] = {number: [] for number in numbers}
        if unsure is not None:
            for place, row in _left_over(unsure):
                rows[numbers[place]].append(row)
        self._drawn = set()
        for explained in self.evaluator.explain(self.model, selected, head, normalization):
            self._check_fit(explained)
            for place, row in self._scored(numbers, explained):
                rows[numbers[place]].append(row)
        for number, image_rows in rows.items():
            # An image that nothing is asked of is done, too.
            image_rows = image_rows or [{"method": ""}]
            name = {"index": number, "file": self.files[number] if self.files else "", "of": len(image_rows)}
            rows[number] = [row | name for row in image_rows]
        return [row for image_rows in rows.values() for row in image_rows]

    def _check_fit(self, explained: ExplainedBatch) -> None:
        """Refuse a network of which the first images show that no method works on it."""
        left_out = [e for e in self.evaluator.explainers if e.name not in explained.explanations]
        others = [e for e in self.evaluator.explainers if e not in left_out and not isinstance(e, CONTROLS)]
        if left_out and not others and not self._settled:
            raise OptionError(f"No method fits {self.network.label}: {self.evaluator.failures.latest}")
        self._settled = True

    def _scored(self, numbers: list[int], explained: ExplainedBatch) -> Iterator[tuple[int, dict[str, Any]]]:
        """Place in the batch and row, for every method."""
        explainers, explanations = self.evaluator.explainers, explained.explanations
        cells: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
        for inputs, metric, rows in self.evaluator.jobs(explained):
            measured = self.evaluator.measure(metric, inputs, rows).double().T.tolist()
            for row, values in zip(rows.tolist(), measured):
                cells[inputs.explainer.name, row] |= dict(zip(columns_of(metric), map(repr, values)))
        failed = {e.name: explained.failed(e.name).tolist() for e in explainers}
        for row, place in enumerate(explained.selected.sample_index.tolist()):
            # Of the categories of an image, the first is drawn.
            if numbers[place] in self.kept and place not in self._drawn and explanations:
                self._drawn.add(place)
                keep_maps(self.folder.path, numbers[place], explanations, row)
            for explainer in explainers:
                facts = _facts(row, explained.batch, explanations.get(explainer.name))
                facts |= {"method": explainer.name, "failed": int(failed[explainer.name][row])}
                yield place, facts | cells[explainer.name, row]


def columns_of(metric: ImageMetric) -> list[str]:
    """Columns of a metric's parts: its name for the headline, ``<name>_<part>`` for the others."""
    return [metric.name if part == metric.value_names[0] else f"{metric.name}_{part}" for part in metric.value_names]


def _left_over(unsure: ExplanationTargets) -> Iterator[tuple[int, dict[str, Any]]]:
    """Place in the batch and row, without a method, for what the network is not sure enough of."""
    batch_label = unsure.batch.label
    labels = batch_label.tolist() if batch_label.ndim == 1 else [""] * len(batch_label)
    for place, label, probability in zip(unsure.sample_index.tolist(), labels, unsure.probability.tolist()):
        yield place, {"method": "", "label": label, "probability": repr(probability)}


def _facts(row: int, batch: Batch, explanation: Explanation | None) -> dict[str, Any]:
    label = int(batch.label[row]) if batch.label.ndim == 1 else ""
    if explanation is None:
        return {"label": label}
    return {
        "label": label,
        "target": int(explanation.target[row]),
        # The most probable of several right answers is not the answer.
        "predicted": "" if batch.labels.ndim > 1 else int(explanation.predicted[row]),
        "probability": repr(float(explanation.probability[row])),
        "degenerate": int(explanation.degenerate[row]),
    }


def run(scorer: Scorer, loader: DataLoader, indices: Sequence[int], trainer: Trainer, batch_size: int) -> None:
    """Score the images that are not scored yet.

    Args:
        scorer: What to do with each batch.
        loader: Whose data set the images are of.
        indices: Which of them.
        trainer: Spreads them over devices.
        batch_size: Images per pass.

    Raises:
        OptionError: When no image can be read.
    """
    done = {index for index, _ in scorer.folder.images()}
    missing, requested = [index for index in indices if index not in done], set(indices)
    if missing:
        # Lightning wants something to do for every rank, were it nothing.
        nothing = [-1] * (trainer.world_size - len(missing))
        numbered = Numbered(loader.dataset, missing + nothing, loader.collate_fn)
        batches = DataLoader(numbered, batch_size, num_workers=loader.num_workers, collate_fn=numbered.collate)
        with _shown(scorer, len(indices), len(indices) - len(missing), trainer), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*predict returned None.*")
            try:
                trainer.predict(scorer, batches, return_predictions=False)
            except Exception as error:
                if "Original Traceback" not in str(error):
                    raise
                # A loader process sends its traceback along; the last line says what is wrong.
                kind, _, reason = str(error).strip().splitlines()[-1].partition(": ")
                raise OptionError(reason or kind) from error
            except (KeyboardInterrupt, SystemExit):
                print("Interrupted: the same command goes on from here.", file=sys.stderr)
                raise
    if trainer.is_global_zero:
        scorer.folder.finish()
    trainer.strategy.barrier()
    if not any(index in requested for index, _ in scorer.folder.images()):
        raise OptionError(f"None of the {len(indices)} images could be read.")


@contextmanager
def _shown(scorer: Scorer, total: int, done: int, trainer: Trainer) -> Iterator[None]:
    """The first rank's progress bar; the others are silent."""
    if not trainer.is_global_zero:
        with reporting_to(lambda label, done, total: None):
            yield
        return
    with Bars(f"scoring {scorer.network.label}", total, done) as scorer.bars:
        yield
    scorer.bars = None


@dataclass
class ScoringTrainer:
    """How the images are spread over devices.

    Args:
        devices: Number of devices, or of processes on a CPU; auto takes all of the accelerator's.
        accelerator: auto, cpu, gpu and so on.
        strategy: How several of them work together.
        num_nodes: Number of machines.
    """

    devices: int | str = 1
    accelerator: str = "auto"
    strategy: str = "auto"
    num_nodes: int = 1

    def build(self) -> Trainer:
        """A trainer that only predicts: every image goes to one device, none is repeated.

        Raises:
            OptionError: When this machine has no such devices, or there is no such strategy.
        """
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "inference_mode": False}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
            try:
                return Trainer(**vars(self), **quiet, enable_model_summary=False)
            except (MisconfigurationException, TypeError) as error:
                raise OptionError(f"--trainer: {error} Try --trainer.accelerator cpu --trainer.devices 1.") from error
