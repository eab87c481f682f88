"""LoaderWatch against a clock that only the data set and the model move, so that every figure is known."""

import logging
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning import Callback, LightningDataModule, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.profilers import PassThroughProfiler, SimpleProfiler
from lightning.pytorch.profilers import simple as simple_profiler
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from livecam.callbacks import LoaderWatch
from livecam.callbacks import data_wait_monitor as module
from livecam.core.batch import batch_size_of

CLOCK = SimpleNamespace(now=0.0)


def passes(seconds: float) -> None:
    CLOCK.now += seconds


class Watch(LoaderWatch):
    def _now(self):
        return CLOCK.now


class Slow(Dataset):
    """Every sample takes a while, the first ones longer, as where processes have to start."""

    def __init__(self, seconds, length=60, first=0.0):
        self.seconds, self.length, self.first = seconds, length, first
        self.read = 0

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        passes(self.seconds + (self.first if self.read < 4 else 0))
        self.read += 1
        return torch.ones(3), index % 2


class Endless(IterableDataset):
    def __iter__(self):
        for index in range(60):
            passes(0.5)
            yield torch.ones(3), index % 2


class Net(LightningModule):
    def __init__(self, seconds):
        super().__init__()
        self.seconds, self.fc = seconds, nn.Linear(3, 2)

    def training_step(self, batch, batch_idx):
        passes(self.seconds)
        return nn.functional.cross_entropy(self.fc(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        passes(1000)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but")


def watched(make_trainer, data, net, watch=None, validation=None, batch=2, **settings):
    watch = watch or Watch()
    trainer = make_trainer(max_epochs=1, callbacks=[watch, *settings.pop("callbacks", [])], **settings)
    trainer.fit(net, data if isinstance(data, LightningDataModule) else DataLoader(data, batch), validation)
    return watch, trainer


def share(trainer):
    return trainer.callback_metrics["train/waiting_for_data"].item()


def test_waiting_is_measured_and_said_once(make_trainer, caplog, monkeypatch):
    monkeypatch.setattr(module, "_cores", lambda: 16)
    with caplog.at_level(logging.WARNING):
        # 2 images take 0.75 s to load and 0.25 s to learn from.
        _, trainer = watched(make_trainer, Slow(0.375, 120), Net(0.25))
    assert share(trainer) == pytest.approx(0.75)
    told = [record.getMessage() for record in caplog.records if "bottleneck" in record.getMessage()]
    assert told == [
        "The loader is the bottleneck: 75% of training time was spent waiting for data (it gave 2 images/s, the "
        "network could take 8). Try num_workers=3 (now 0, this machine has 16 cores)."
    ]


def test_nothing_is_said_where_the_network_is_the_slower(make_trainer):
    watch, trainer = watched(make_trainer, Slow(0.05), Net(0.9))
    assert share(trainer) == pytest.approx(0.1)
    assert watch.hint is None


@pytest.mark.parametrize(("length", "seconds", "said"), [(60, 0.2, True), (60, 0.02, False), (46, 9.0, False)])
def test_few_batches_and_short_runs_say_nothing(make_trainer, length, seconds, said):
    watch, _ = watched(make_trainer, Slow(seconds, length), Net(seconds))
    assert bool(watch.hint) == said


def test_short_epochs_add_up(make_trainer):
    watch = Watch()
    trainer = make_trainer(max_epochs=4, callbacks=[watch])
    trainer.fit(Net(0.5), DataLoader(Slow(0.5, 24), 2))
    # 12 batches, of which 8 stretches count.
    assert "67% of training time" in watch.hint and share(trainer) == pytest.approx(2 / 3)


def test_the_start_of_an_epoch_is_left_out(make_trainer):
    _, trainer = watched(make_trainer, Slow(0.05, first=500), Net(0.9))
    assert share(trainer) == pytest.approx(0.1)


def test_validation_and_checkpoints_are_left_out(make_trainer, tmp_path):
    class Saving(ModelCheckpoint):
        def _save_checkpoint(self, trainer, filepath):
            super()._save_checkpoint(trainer, filepath)
            passes(300)

    class Logging(Callback):
        """What runs between two batches is training time, and no waiting."""

        def on_train_batch_end(self, trainer, *args):
            passes(0.5)

    _, trainer = watched(
        make_trainer,
        Slow(0.125),
        Net(0.25),
        validation=DataLoader(Slow(0, 2)),
        val_check_interval=5,
        accumulate_grad_batches=3,
        enable_checkpointing=True,
        callbacks=[Saving(tmp_path, every_n_train_steps=2), Logging()],
    )
    assert list(tmp_path.glob("*.ckpt"))
    assert share(trainer) == pytest.approx(0.25)


def test_a_loader_without_length_is_read_one_batch_ahead(make_trainer):
    _, trainer = watched(make_trainer, Endless(), Net(1.0))
    # The last of 26 stretches has no batch left to wait for.
    assert share(trainer) == pytest.approx(0.5, abs=0.02)


def test_epochs_too_short_to_judge_log_nothing(make_trainer):
    _, trainer = watched(make_trainer, Slow(1.0, 8), Net(0.1))
    assert "train/waiting_for_data" not in trainer.callback_metrics


@pytest.mark.parametrize(
    "batch", [torch.ones(5, 2), (torch.ones(5), 1), {"label": [torch.ones(5)]}, [3, torch.ones(5)]]
)
def test_images_are_counted_in_any_batch(batch):
    assert batch_size_of(batch) == 5
    assert batch_size_of([torch.tensor(3.0)]) == 1 and batch_size_of("text") == batch_size_of({}) == 0


def test_the_trainer_s_own_profiler_measures_where_it_has_one(make_trainer, monkeypatch):
    profiler = SimpleProfiler()
    monkeypatch.setattr(simple_profiler, "time", SimpleNamespace(perf_counter=lambda: CLOCK.now))
    _, trainer = watched(make_trainer, Slow(0.05), Net(0.9), profiler=profiler)
    assert trainer.profiler is profiler and share(trainer) == pytest.approx(0.1)


def test_nothing_is_logged_where_nobody_measures(make_trainer):
    class Other(PassThroughProfiler):
        """A profiler of another kind."""

    watch, trainer = watched(make_trainer, Slow(0.5), Net(0.5), profiler=Other())
    assert "train/waiting_for_data" not in trainer.callback_metrics and watch.hint is None


def test_watching_does_not_disturb(make_trainer, foreign_module, foreign_loader):
    def trained(callbacks):
        torch.manual_seed(0)
        net = type(foreign_module)()
        make_trainer(callbacks=callbacks).fit(net, foreign_loader(shuffle=True), foreign_loader())
        return net

    alone, watched_one = trained([]), trained([LoaderWatch()])
    assert alone.losses == watched_one.losses
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), watched_one.parameters()))


class Sleeping(Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, index):
        time.sleep(0.1)
        return torch.randn(3, 20, 20), index % 3


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_that_sleeps_is_waited_for_in_real_time(make_trainer, foreign_module, foreign_loader, workers):
    trainer = make_trainer(max_epochs=1, callbacks=[LoaderWatch()])
    trainer.fit(foreign_module, DataLoader(Sleeping(), 1, num_workers=workers), foreign_loader())
    assert share(trainer) > 0.5, "a tenth of a second, or half of it, against a step of a few milliseconds"


RANKS = """
import os, sys, torch
from lightning import Trainer
from torch.utils.data import DataLoader
sys.path.insert(0, {folder!r})
import test_data_wait_monitor as it

class Uneven(it.Slow):
    def __getitem__(self, index):
        # The second rank's samples take as long as its steps.
        it.passes(float(os.environ.get("LOCAL_RANK") == "1"))
        return torch.ones(3), 0

if __name__ == "__main__":
    settings = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, callbacks=[it.Watch()], **settings)
    trainer.fit(it.Net(1.0), DataLoader(Uneven(0, 40), 1))
    # A file of its own: what two ranks print into one pipe may come out as one word.
    with open("share-" + os.environ.get("LOCAL_RANK", "0"), "w") as out:
        out.write(str(round(it.share(trainer), 6)))
"""


@pytest.mark.slow
def test_of_two_ranks_the_one_that_waits_counts(tmp_path):
    (tmp_path / "ranks.py").write_text(RANKS.format(folder=str(Path(__file__).parent)))
    told = subprocess.run([sys.executable, "ranks.py"], cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert told.returncode == 0, told.stderr[-3000:]
    assert [(tmp_path / f"share-{rank}").read_text() for rank in range(2)] == ["0.5", "0.5"]
