"""What all live callbacks share: when to act, whom to explain, and never to harm the training they watch."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from livecam.core.batch import Batch
from livecam.core.errors import OptionError
from livecam.core.heads import HEADS
from livecam.core.normalization import IMAGENET, Normalization
from livecam.evaluation.fault_tolerance import FaultTolerantExplainer
from livecam.explain import Explainer, Explanation, by_names
from livecam.explain.explanation import check_names
from livecam.runtime.failures import FailurePolicy, reset_warn_once
from livecam.runtime.fsdp import unsharded_parameters
from livecam.runtime.model_state import isolate_rng
from livecam.runtime.progress import no_progress

_log = logging.getLogger(__name__)

Target = Literal["predicted", "label"]


class LiveExplanation(Callback):
    """Base of callbacks that explain a model during validation.

    They act before all other callbacks of a trainer, wherever they stand in its list: averaged weights, say, are put
    away again by a hook of the very moment at which galleries are drawn.

    Args:
        explainers: Methods, each under its own name; words such as ``gradual_gradcam`` and ``s4`` stand for methods
            with their defaults and for presets.
        target: Whether the ``predicted`` class or the true ``label`` is explained.
        every_n_validations: Act on every n-th validation of a fit.
        head: ``softmax``, ``binary``, ``multilabel``, or ``auto``: the module's own ``head`` where it has one, else
            multilabel for multi-hot labels, binary for one output and softmax for several.
        normalization: Tie between model input and pixels; None takes the datamodule's ``normalization``, else
            ImageNet's.
        strict: Raise when an explainer fails, instead of reporting it once and going on without it.

    Raises:
        OptionError: When two explainers share a name, or a word is no method.
    """

    def __init__(
        self,
        explainers: Sequence[Explainer | str],
        target: Target,
        every_n_validations: int = 1,
        head: str = "auto",
        normalization: Normalization | None = None,
        strict: bool = False,
    ) -> None:
        self.explainers = by_names(explainers)
        check_names(self.explainers)
        if target not in ("predicted", "label"):
            raise OptionError(f"target={target!r}: explain the 'predicted' class or the true 'label'.")
        if every_n_validations < 1:
            raise OptionError(f"every_n_validations counts from 1, got {every_n_validations}.")
        self.target = target
        self.every_n_validations = every_n_validations
        self.head = head
        self.normalization = normalization
        self._validations = 0
        self._stopwatch = Stopwatch()
        self._began: float | None = None
        self._failures = FailurePolicy(strict)
        self._explaining = FaultTolerantExplainer(self._failures)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """A new run reports anew; whoever watches acts before those that put other weights back after validation.

        Raises:
            OptionError: Under the strategy of FSDP's first version.
        """
        if isinstance(trainer.strategy, FSDPStrategy):
            raise OptionError(
                "FSDPStrategy flattens the parameters of each unit that it wraps, so that no weight of a layer can be "
                "read between passes, and every pass takes all ranks: use ModelParallelStrategy (FSDP2) instead."
            )
        reset_warn_once()
        trainer.callbacks = sorted(trainer.callbacks, key=lambda callback: not isinstance(callback, LiveExplanation))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count the time that explanations take of this run."""
        self._stopwatch, self._began = Stopwatch(), time.perf_counter()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Say, at the end of a training, what all explanations took of it."""
        live = [callback for callback in trainer.callbacks if isinstance(callback, LiveExplanation)]
        if stage != TrainerFn.FITTING or self is not live[-1] or self._began is None or not trainer.is_global_zero:
            return
        for callback in live:
            callback._stopwatch.pop()
        spent, whole_run = sum(callback._stopwatch.total for callback in live), time.perf_counter() - self._began
        print(f"Explanations took {spent / whole_run:.1%} of this run ({spent:.1f} s of {whole_run:.0f} s).")

    def state_dict(self) -> dict[str, Any]:
        """How many validations there were, so that a resumed run picks the same ones."""
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self._validations = state_dict["validations"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count validations, so that every n-th can be picked."""
        if not trainer.sanity_checking:
            self._validations += 1

    def should_run(self, trainer: Trainer) -> bool:
        """Whether this validation is to be explained; every one is outside of fit."""
        if trainer.sanity_checking:
            return False
        return trainer.state.fn != TrainerFn.FITTING or self._validations % self.every_n_validations == 0

    @property
    def state_key(self) -> str:
        """Identity in checkpoints: two callbacks of one class with other methods keep their own state."""
        return f"{type(self).__qualname__}({','.join(explainer.name for explainer in self.explainers)})"

    def explain(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, explainers: Sequence[Explainer]
    ) -> dict[str, Explanation]:
        """Explain a batch by every method that works; a failing one is reported once and left out.

        Args:
            trainer: The trainer.
            pl_module: The watched module.
            batch: The images; of multi-label ones whose labels are explained, a row for each category.
            explainers: Methods, each under its own name.
        """
        settings = {"head": self.head_of(pl_module, batch), "normalization": self.normalization_of(trainer)}
        targets = batch.label if self.target == "label" else None
        with no_progress():
            return self._explaining(pl_module, batch.image, targets, explainers, **settings)

    @contextmanager
    def isolated_from_training(self, what: str, model: nn.Module | None = None) -> Iterator[None]:
        """Keep any failure inside from reaching the training, and count the time spent.

        Args:
            what: What is done inside.
            model: The network that is run inside, if any. On all ranks, but each as often as it needs to.
        """
        with (
            self._stopwatch.measure(),
            unsharded_parameters(model) if model is not None else nullcontext(),
            self.suppress(what),
            isolate_rng(),
        ):
            yield

    def suppress(self, what: str) -> AbstractContextManager[None]:
        """Keep any failure inside from reaching the training; raise it when strict."""
        return self._failures.suppress(f"{type(self).__name__}: {what} failed and is skipped; training goes on.")

    def log_seconds(self, pl_module: LightningModule) -> None:
        """Log the time spent since the last call: a scalar that commits the W&B row even when all else failed."""
        # Several callbacks log this key in one hook; their times add up, and so do those of all ranks.
        spent = torch.tensor(self._stopwatch.pop(), device=pl_module.device)
        pl_module.log("val/explanation_seconds", spent, reduce_fx="sum", sync_dist=True)

    def head_of(self, pl_module: LightningModule, batch: Batch) -> str:
        """Name of the head: the callback's, else the module's own, else what the labels tell, else ``auto``."""
        head = getattr(pl_module, "head", None)
        head = getattr(head, "name", head)
        # Somebody's head may be a layer, a list of sizes or a dict of layers.
        if self.head != "auto" or not isinstance(head, str) or head not in HEADS:
            # Several labels at once are no softmax.
            return "multilabel" if self.head == "auto" and batch.labels.ndim == 2 else self.head
        return head

    def normalization_of(self, trainer: Trainer) -> Normalization:
        """The callback's normalization, else the datamodule's, else ImageNet's (said once)."""
        normalization = self.normalization or getattr(getattr(trainer, "datamodule", None), "normalization", None)
        if normalization is None:
            normalization = self.normalization = IMAGENET
            _log.info(
                "No normalization was given and the datamodule has none: pictures assume ImageNet's. "
                "Pass normalization=Normalization(mean, std) otherwise."
            )
        return normalization


def non_padding_mask(trainer: Trainer, batch: Batch, position: int) -> Tensor:
    """Which samples of a validation batch are not repeats that pad a distributed sampler, ``(N,)`` bool.

    Lightning's sampler for validation deals samples round-robin and repeats the first ones until every rank has as
    many. A repeat lies past the end of the data set; with ``index`` it shows as a sample that belongs to another rank.

    Args:
        trainer: The trainer.
        batch: The batch.
        position: Samples that this rank's loader gave before.
    """
    keep = torch.ones(len(batch), dtype=torch.bool, device=batch.image.device)
    sampler = getattr(first_loader(trainer), "sampler", None)
    if trainer.world_size == 1 or not isinstance(sampler, torch.utils.data.DistributedSampler) or sampler.shuffle:
        return keep
    if batch.index is not None:
        return batch.index.to(keep.device) % sampler.num_replicas == sampler.rank
    places = (position + torch.arange(len(batch), device=keep.device)) * sampler.num_replicas + sampler.rank
    return places < len(sampler.dataset)


def first_loader(trainer: Trainer) -> torch.utils.data.DataLoader | None:
    """The first validation loader; further ones are not explained."""
    loaders = trainer.val_dataloaders
    if isinstance(loaders, dict):
        loaders = list(loaders.values())
    if isinstance(loaders, list | tuple):
        return loaders[0] if loaders else None
    return loaders


class Stopwatch:
    """Adds up the time of stretches of work.

    A GPU works on after the process has queued its work, and a process may be slower than the GPU: of each stretch the
    longer time counts, the one on the process's clock or the one between two events on the device.
    """

    def __init__(self) -> None:
        self.total = 0.0
        """Seconds so far, of all stretches that :meth:`pop` told of."""
        self._stretches: list[tuple[float, tuple[torch.cuda.Event, torch.cuda.Event] | None]] = []

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Measure what is done inside; nothing waits for the device."""
        start, before = time.perf_counter(), _mark()
        try:
            yield
        finally:
            after = _mark()
            events = None if before is None or after is None else (before, after)
            self._stretches.append((time.perf_counter() - start, events))

    def pop(self) -> float:
        """Seconds since this was last asked; waits until the device is done with them."""
        spent = 0.0
        for seconds, events in self._stretches:
            if events is not None:
                events[1].synchronize()
                seconds = max(seconds, events[0].elapsed_time(events[1]) / 1000)
            spent += seconds
        self._stretches.clear()
        self.total += spent
        return spent


def _mark() -> torch.cuda.Event | None:
    if not torch.cuda.is_initialized():
        return None
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event
