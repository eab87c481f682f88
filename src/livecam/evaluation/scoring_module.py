"""One pass over a data set that explains every image and measures the maps, on any number of devices."""

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor
from torch.utils.data import DataLoader

from livecam.core.batch import Batch, read_batch
from livecam.evaluation.datasets import Numbered
from livecam.evaluation.evaluator import Asked, Explained, asked_of, reads
from livecam.evaluation.loaded_network import Network
from livecam.evaluation.reference_mask import ReferenceMask
from livecam.evaluation.score_store import ScoreFolder, keep_maps
from livecam.explain import Explainer, Explanation, explain
from livecam.explain.methods.controls import BASELINES
from livecam.metrics import ImageMetric
from livecam.runtime.progress import Bars, reporting_to
from livecam.training.resume import TERMINATED


class Scorer(LightningModule):
    """Explains batches and writes a row per image and method.

    Args:
        network: What is explained.
        explainers: Methods.
        metrics: What is measured of their maps.
        target: ``label`` or ``predicted``: the explained class.
        folder: Where rows go.
        reference: Another network's maps; None where no metric reads them.
        files: Name of each image of the data set, by index, where they have names.
        kept: Indices of images whose maps are kept, to be drawn.
        data: The data module; what it does to batches on their way to the device is done here too.
        min_probability: Least probability of the explained class; images, or pairs, below it are only counted.
    """

    def __init__(
        self,
        network: Network,
        explainers: Sequence[Explainer],
        metrics: Sequence[ImageMetric],
        target: str,
        folder: ScoreFolder,
        reference: ReferenceMask | None = None,
        files: Sequence[str] | None = None,
        kept: Sequence[int] = (),
        data: LightningDataModule | None = None,
        min_probability: float = 0.0,
    ) -> None:
        super().__init__()
        # The same numbers up to rounding, and many networks are faster so.
        self.model = network.model.to(memory_format=torch.channels_last)
        self.network, self.explainers, self.target = network, list(explainers), target
        self.asked = list(metrics)
        self.data, self.min_probability = data, min_probability
        self.folder, self.reference, self.files, self.kept = folder, reference, files, frozenset(kept)
        self.bars: Bars | None = None
        self._settled = False
        # Rows of a pass: images of the largest batch so far.
        self._size = 1
        self._drawn: set[int] = set()
        self._failed: set[str] = set()

    def on_predict_start(self) -> None:
        """Open this rank's file."""
        self._writer = self.folder.open(self.global_rank)

    def on_before_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """What the data module does before a batch is moved."""
        return self._through(batch, "on_before_batch_transfer")

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """What the data module does to a batch on the device, such as normalising it."""
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
        asked = asked_of(batch, self.target, self.model, self.network.head, self.min_probability)
        rows: dict[int, list[dict[str, Any]]] = {number: [] for number in numbers}
        if asked.probability is not None:
            sure = asked.probability >= self.min_probability
            for place, row in _left_over(asked, ~sure):
                rows[numbers[place]].append(row)
            asked = asked.rows(sure)
        self._size = max(self._size, len(batch))
        self._drawn = set()
        for part in asked.split(self._size):
            for place, row in self._scored(numbers, part):
                rows[numbers[place]].append(row)
        for number, own in rows.items():
            # An image that nothing is asked of is done, too.
            own = own or [{"method": ""}]
            name = {"index": number, "file": self.files[number] if self.files else "", "of": len(own)}
            rows[number] = [row | name for row in own]
        return [row for own in rows.values() for row in own]

    def _scored(self, numbers: list[int], asked: Asked) -> Iterator[tuple[int, dict[str, Any]]]:
        """Place in the batch and row, for every method."""
        batch = asked.batch
        found = self._explain(batch, batch.label if self.target == "label" else None)
        self._settled = True
        batch = batch.about(next(iter(found.values())).target)
        reference = None
        if self.reference:
            same = replace(batch, label=next(iter(found.values())).target)
            reference = self.reference.masks(same, self.network.normalisation)
        columns: dict[str, dict[str, list[str]]] = {}
        for explainer in (each for each in self.explainers if each.name in found):
            seen = Explained(
                batch,
                explainer,
                found[explainer.name],
                self.model,
                self.network.head,
                self.network.normalisation,
                reference,
            )
            columns[explainer.name] = self._measured(seen)
        for row, place in enumerate(asked.owner.tolist()):
            # Of the categories of an image, the first is drawn.
            if numbers[place] in self.kept and place not in self._drawn:
                self._drawn.add(place)
                keep_maps(self.folder.path, numbers[place], found, row)
            for name, explanation in found.items():
                facts = _facts(row, batch, name, explanation)
                yield place, facts | {key: cells[row] for key, cells in columns[name].items()}

    def _explain(self, batch: Batch, targets: Tensor | None) -> dict[str, Explanation]:
        settings = {"head": self.network.head, "normalisation": self.network.normalisation}
        try:
            return explain(self.model, batch.image, self.explainers, targets, **settings)
        except (ValueError, KeyError) as error:
            found, reasons = {}, {}
            for explainer in self.explainers:
                try:
                    found |= explain(self.model, batch.image, [explainer], targets, **settings)
                except (ValueError, KeyError) as reason:
                    reasons[explainer] = reason.args[0]
            if not found:
                raise error
        for explainer, reason in reasons.items():
            self._leave_out(explainer, reason, len(batch))
        if not self._settled:
            # What fails on the first images does not fit; later on it may be the images.
            self.explainers = [explainer for explainer in self.explainers if explainer.name in found]
            if all(isinstance(explainer, BASELINES) for explainer in self.explainers):
                raise ValueError(f"No method fits {self.network.label}: name others by --methods.")
        return found

    def _leave_out(self, explainer: Explainer, reason: str, images: int) -> None:
        """Say why a method is missing, once."""
        if explainer.name not in self._failed:
            what = f"fails on {images} or more images of" if self._settled else "does not fit"
            print(f"{explainer.label} {what} {self.network.label}: {reason}", file=sys.stderr)
        self._failed.add(explainer.name)

    def _measured(self, seen: Explained) -> dict[str, list[str]]:
        """Cells of each column; blank for images that are not annotated."""
        batch, cells = seen.batch, {}
        everyone = torch.ones(len(batch), dtype=torch.bool, device=batch.image.device)
        annotated = batch.has_mask if batch.mask is not None else ~everyone
        for metric in self.asked:
            rows = annotated if "masks" in reads(metric) else everyone
            values = torch.full((len(metric.parts), len(batch)), torch.nan, dtype=torch.float64)
            if rows.any() and applies(metric, seen.explainer):
                values[:, rows.cpu()] = metric.measure(**seen.evidence(metric, rows)).double().cpu()
            else:
                rows = ~everyone
            for column, line in zip(columns_of(metric), values.tolist()):
                cells[column] = [repr(value) if there else "" for value, there in zip(line, rows.tolist())]
        return cells


def applies(metric: ImageMetric, explainer: Explainer) -> bool:
    """Whether a metric says anything of a method: a map that reads no network does not change with it."""
    return "explain" not in reads(metric) or not isinstance(explainer, BASELINES)


def columns_of(metric: ImageMetric) -> list[str]:
    """Columns of a metric's parts: its name for the headline, ``<name>_<part>`` for the others."""
    return [metric.name if part == metric.parts[0] else f"{metric.name}_{part}" for part in metric.parts]


def _left_over(asked: Asked, rows: Tensor) -> Iterator[tuple[int, dict[str, Any]]]:
    """Place in the batch and row, without a method, for what the network is not sure enough of."""
    label = asked.batch.label
    labels = label[rows].tolist() if label.ndim == 1 else [""] * int(rows.sum())
    for place, label, probability in zip(asked.owner[rows].tolist(), labels, asked.probability[rows].tolist()):
        yield place, {"method": "", "label": label, "probability": repr(probability)}


def _facts(row: int, batch: Batch, name: str, explanation: Explanation) -> dict[str, Any]:
    several = batch.truth.ndim > 1
    return {
        "label": int(batch.label[row]) if batch.label.ndim == 1 else "",
        "target": int(explanation.target[row]),
        # The most probable of several right answers is not the answer.
        "predicted": "" if several else int(explanation.predicted[row]),
        "probability": repr(float(explanation.probability[row])),
        "method": name,
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
        ValueError: When no image can be read.
    """
    done = {index for index, _ in scorer.folder.images()}
    left, wanted = [index for index in indices if index not in done], set(indices)
    if left:
        # Lightning wants something to do for every rank, were it nothing.
        nothing = [-1] * (trainer.world_size - len(left))
        numbered = Numbered(loader.dataset, left + nothing, loader.collate_fn)
        batches = DataLoader(numbered, batch_size, num_workers=loader.num_workers, collate_fn=numbered.collate)
        with _shown(scorer, len(indices), len(indices) - len(left), trainer), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*predict returned None.*")
            try:
                trainer.predict(scorer, batches, return_predictions=False)
            except Exception as error:
                if "Original Traceback" not in str(error):
                    raise
                # A loader process sends its traceback along; the last line says what is wrong.
                kind, _, told = str(error).strip().splitlines()[-1].partition(": ")
                raise ValueError(told or kind) from error
            except (KeyboardInterrupt, SystemExit):
                print("Interrupted: the same command goes on from here.", file=sys.stderr)
                raise
    if trainer.is_global_zero:
        scorer.folder.finish()
    trainer.strategy.barrier()
    if not any(index in wanted for index, _ in scorer.folder.images()):
        raise ValueError(f"None of the {len(indices)} images could be read.")


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
            ValueError: When this machine has no such devices, or there is no such strategy.
        """
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "inference_mode": False}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
            try:
                return Trainer(**vars(self), **quiet, enable_model_summary=False)
            except (MisconfigurationException, TypeError) as error:
                raise ValueError(f"--trainer: {error} Try --trainer.accelerator cpu --trainer.devices 1.") from error
