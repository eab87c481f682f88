"""Told to stop by SIGTERM or Ctrl-C: the page is closed, one sentence says how to go on, and going on works."""

import os
import signal
from pathlib import Path

import pytest
import torch
from lightning import Callback

from livecam import cli
from livecam.data import PlantedShapesData
from livecam.report.html.page_data import PageData

LAST = "runs/stopped/checkpoints/last.ckpt"


class Told(Callback):
    """Sends this very process a signal in the second epoch, once."""

    def __init__(self, number: int) -> None:
        self.number = number

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 1 and not Path("told").exists():
            Path("told").touch()
            os.kill(os.getpid(), self.number)


class ToldData(PlantedShapesData):
    """Sends a signal when its sixth image is read, once."""

    def val_dataloader(self):
        loader = super().val_dataloader()
        loader.dataset.__class__ = _Telling
        return loader


class _Telling(type(PlantedShapesData(val_length=1).val_dataloader().dataset)):
    def __getitem__(self, index):
        if index == 5 and not Path("told").exists():
            Path("told").touch()
            os.kill(os.getpid(), signal.SIGTERM)
        return super().__getitem__(index)


@pytest.fixture(autouse=True)
def ordinary_signals():
    """Lightning leaves Ctrl-C ignored after it has seen one, and so do shells in what they run in the background."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def with_last(settings):
    settings["trainer"] |= {"max_epochs": 3, "callbacks": []}
    last = {"class_path": "LastCheckpoint"}
    settings["trainer"]["callbacks"].append(last)


def status() -> str:
    return PageData.from_js(Path("runs/stopped/data.js").read_text("ascii")).status


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 1)])
def test_a_training_that_is_told_to_stop(config, capfd, number, code):
    start = ["fit", "-c", config(with_last), "--run", "stopped"]
    told = ["--trainer.callbacks+", f"{__name__}.Told", "--trainer.callbacks.number", str(int(number))]
    with pytest.raises(SystemExit) as stop:
        cli.train([*start, *told])
    assert stop.value.code == code
    sentence = f"uv run train.py fit -c runs/stopped/fit_config.yaml --ckpt_path {LAST}"
    assert sentence in capfd.readouterr().err
    assert status() == "failed"
    assert torch.load(LAST, weights_only=True)["epoch"] == 0
    # The sentence as it is, once the signal is gone.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    trainer = cli.train(sentence.split()[3:]).trainer
    assert trainer.current_epoch == 3 and status() == "finished"


def test_before_the_first_checkpoint_there_is_nothing_to_go_on_from(config, capfd):
    start = ["fit", "-c", config(with_last), "--run", "stopped", "--trainer.callbacks+", f"{__name__}.Told"]
    with pytest.raises(SystemExit):
        cli.train([*start, "--trainer.callbacks.number", "15", "--trainer.callbacks+", f"{__name__}.Early"])
    assert "before its first checkpoint: it begins anew" in capfd.readouterr().err
    cli.train(start[:5])
    assert status() == "finished"


class Early(Told):
    def __init__(self) -> None:
        super().__init__(signal.SIGTERM)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        os.kill(os.getpid(), self.number)


def test_score_stops_at_the_next_batch_and_goes_on(here, capsys):
    from helpers.checkpoints import save_unet

    save_unet(here / "net.ckpt")
    args = ["score", "--checkpoint", "net.ckpt", "--data", "ToldData", "--data.image_size", "32"]
    args += ["--data.val_length", "12", "--batch_size", "4", "--methods", "cam", "--metrics", "localization"]
    args += ["--trainer.accelerator", "cpu", "--out", "scores"]
    with pytest.raises(SystemExit) as stop:
        cli.explain(args)
    assert stop.value.code == 143
    assert capsys.readouterr().err.strip().endswith("Interrupted: the same command goes on from here.")
    lines = Path("scores/rows.rank0.csv").read_text().splitlines()
    # Images come in an order drawn at random; the batch in which the signal came may have been finished.
    assert len(lines) > 1 and not Path("scores/scores.csv").exists()
    cli.explain(args)
    whole = Path("scores/scores.csv").read_text().splitlines()
    assert set(lines) <= set(whole) and len({line.split(",")[0] for line in whole[1:]}) == 12
