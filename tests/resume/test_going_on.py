"""Checkpoints that are whole, and commands that start, continue, or say in one sentence why they do not."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
import yaml
from test_cli import refused

from livecam import cli
from livecam.training.resume import WholeCheckpoints

CONFIGS = Path(__file__).parents[2] / "configs"
LAST = "runs/first/checkpoints/last.ckpt"


def with_last(settings):
    settings["trainer"]["callbacks"] = [
        # A metric that can only get worse: the best is the first.
        {"class_path": "ModelCheckpoint", "init_args": {"monitor": "epoch", "mode": "min"}},
        {"class_path": "LastCheckpoint"},
    ]


@pytest.fixture
def first(config):
    """A training of two epochs; tells its configuration."""
    path = config(with_last)
    cli.train(["fit", "-c", path, "--run", "first", "--trainer.max_epochs", "2"])
    return path


def test_the_last_epoch_is_kept_whether_it_was_the_best_or_not(first):
    epochs = {path.name: torch.load(path, weights_only=True)["epoch"] for path in Path(LAST).parent.iterdir()}
    assert epochs == {"last.ckpt": 1, "epoch=0-step=2.ckpt": 0}
    cli.train(["fit", "-c", first, "--ckpt_path", LAST, "--trainer.max_epochs", "3"])
    assert torch.load(LAST, weights_only=True)["epoch"] == 2
    assert sorted(path.name for path in Path(LAST).parent.iterdir()) == ["epoch=0-step=2.ckpt", "last.ckpt"]


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_shipped_run_keeps_its_last_epoch(file):
    callbacks = yaml.safe_load(file.read_text())["trainer"]["callbacks"]
    assert {"class_path": "LastCheckpoint"} in callbacks
    # Lightning's own way is renewed only when the best is.
    assert not any("save_last" in each.get("init_args", {}) for each in callbacks)


def test_what_cannot_be_gone_on_with_is_one_sentence(first, capsys):
    fit = ["fit", "-c", first, "--ckpt_path"]
    before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    told = refused(capsys, *fit, "runs/first/checkpoints/lost.ckpt")
    assert told.startswith(
        "No checkpoint at runs/first/checkpoints/lost.ckpt: beside it lies runs/first/checkpoints/epo"
    )
    whole = Path(LAST).read_bytes()
    for damaged in (b"", whole[:-1], whole[: len(whole) // 2], b"no checkpoint", whole[100:]):
        Path("torn.ckpt").write_bytes(damaged)
        told = refused(capsys, *fit, "torn.ckpt")
        assert told.startswith("torn.ckpt cannot be read as a checkpoint (it is damaged, or carries code")
    told = refused(capsys, "fit", "-c", first, "--run", "first")
    assert told == f"runs/first holds a training: go on by --ckpt_path {LAST}, or name another folder by --run."
    assert (
        refused(capsys, *fit, "last") == "--ckpt_path last goes on in a run folder, if it is there: name it by --run."
    )
    assert before == {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}


def test_one_command_begins_and_goes_on(config):
    command = ["fit", "-c", config(with_last), "--run", "same", "--ckpt_path", "last", "--trainer.max_epochs"]
    assert cli.train([*command, "1"]).trainer.global_step == 2
    trainer = cli.train([*command, "2"]).trainer
    assert trainer.global_step == 4 and trainer.current_epoch == 2
    assert [path.name for path in Path("runs").iterdir()] == ["same"]


def test_a_users_own_checkpoints_live_beside_it(first):
    added = ["--trainer.callbacks+", "ModelCheckpoint", "--trainer.callbacks.filename", "mine"]
    cli.train(["fit", "-c", first, "--run", "both", "--trainer.max_epochs", "1", *added])
    assert {"last.ckpt", "mine.ckpt"} < {path.name for path in Path("runs/both/checkpoints").iterdir()}


def test_the_last_checkpoint_may_be_called_as_it_likes(config):
    """A user's own ModelCheckpoint, and Lightning's default one, name theirs by epoch and step."""
    command = ["fit", "-c", config(), "--run", "own", "--ckpt_path", "last", "--trainer.max_epochs"]
    assert cli.train([*command, "1"]).trainer.global_step == 2
    assert not Path("runs/own/checkpoints/last.ckpt").exists()
    trainer = cli.train([*command, "2"]).trainer
    assert trainer.global_step == 4 and trainer.ckpt_path == "runs/own/checkpoints/epoch=0-step=2.ckpt"


@pytest.mark.parametrize("newest", ["hpc", "last"])
@pytest.mark.parametrize("said", [[], ["--ckpt_path", "last"]])
def test_a_job_that_slurm_requeues_goes_on_from_the_newest(newest, said, first, monkeypatch, capsys):
    announced = Path("runs/first/hpc_ckpt_1.ckpt")
    shutil.copy(LAST, announced)
    age = Path(LAST).stat().st_mtime + (10 if newest == "hpc" else -10)
    os.utime(announced, (age, age))
    again = ["fit", "-c", first, "--run", "first", "--trainer.max_epochs", "3", *said]
    if not said:
        # Where no SLURM is, nobody asked to go on.
        assert refused(capsys, *again).startswith("runs/first holds a training: go on by --ckpt_path")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    trainer = cli.train(again).trainer
    assert trainer.global_step == 6
    assert Path(trainer.ckpt_path) == (announced if newest == "hpc" else Path(LAST))


def test_a_failed_write_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    # Lightning writes to the folder for temporary files, from where a checkpoint is copied if that is another disk.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    path, writer = tmp_path / "new" / "last.ckpt", WholeCheckpoints()
    writer.save_checkpoint({"step": 1, "weights": torch.ones(5)}, str(path))
    before = path.read_bytes()
    with pytest.raises(Exception, match="pickle"):
        writer.save_checkpoint({"weights": torch.ones(1000), "step": lambda: 2}, str(path))
    assert path.read_bytes() == before and [file.name for file in path.parent.iterdir()] == ["last.ckpt"]
    writer.save_checkpoint({"step": 3}, path)
    assert writer.load_checkpoint(path) == {"step": 3}


def test_the_command_line_s_trainer_writes_whole_checkpoints(first):
    command = ["fit", "-c", first, "--ckpt_path", LAST, "--trainer.max_epochs", "2"]
    assert isinstance(cli.train(command).trainer.strategy.checkpoint_io, WholeCheckpoints)
