"""The demo, killed by signal 9 in mid-epoch and in mid-validation, becomes the training that was never killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import whole_files
from helpers.bits import same
from segments import STEP, ids_of, rows_of, segments, steps_of

from livecam import cli

ROOT = Path(__file__).parents[2]
CONFIG = "runs/killed/fit_config.yaml"
LAST = "runs/killed/checkpoints/last.ckpt"
# The demo's own configuration, on few small images: 5 steps and 2 validation batches an epoch.
SMALL = ["--data.train_length", "40", "--data.val_length", "16", "--data.batch_size", "8", "--data.image_size", "32"]
SMALL += ["--model.model_args.width", "4", "--trainer.max_epochs", "3", "--trainer.log_every_n_steps", "1"]
SMALL += ["--trainer.enable_progress_bar", "false", "--trainer.callbacks+", "holding.Hold"]
WAITING = "train/waiting_for_data"
DEMO = ["fit", "-c", str(ROOT / "configs" / "demo.yaml"), *SMALL]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nobody_logged_in")]


def kill_where(held: str, epoch: int, step: int, *args: str) -> None:
    """Run ``train.py`` until it holds still in that batch of that epoch and ``step`` is logged, and kill it."""
    Path("held").unlink(missing_ok=True)
    # A W&B process of its own, not that of these tests.
    environment = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}
    environment |= {"HOLD": held, "HOLD_EPOCH": str(epoch), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), environment.get("PYTHONPATH", "")])
    with Path(f"{epoch}.txt").open("w") as told:
        command = [sys.executable, str(ROOT / "train.py"), *args]
        process = subprocess.Popen(command, env=environment, stdout=told, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 300
        while not Path("held").exists():
            assert process.poll() is None and time.monotonic() < deadline, Path(f"{epoch}.txt").read_text()[-3000:]
            time.sleep(0.01)
        # W&B's own process writes once a second.
        while step not in steps_of(segments(Path("runs/killed"), whole=False)[-1]):
            assert time.monotonic() < deadline, f"step {step} did not reach the disk"
            time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=20) == -signal.SIGKILL
    finally:
        process.kill()


def page_of(name: str) -> dict:
    text = Path("runs", name, "data.js").read_text()
    return json.loads(text[text.index("{") : text.rindex("}") + 1])


def entries(page: dict) -> dict:
    """What a page shows, apart from how long things took."""
    points = {one["key"]: list(zip(one["steps"], one["values"])) for one in page["metrics"]}
    points = {key: value for key, value in points.items() if key not in ("val/explanation_seconds", WAITING)}
    pictures = {
        gallery["key"]: [
            (entry["step"], [(image["check"], image["caption"]) for image in entry["images"]])
            for entry in gallery["entries"]
        ]
        for gallery in page["galleries"]
    }
    return {"points": points, "pictures": pictures, "tables": [table["key"] for table in page["tables"]]}


def names_of(captions: list[str]) -> list[str]:
    return [caption.split()[0] for caption in captions]


def test_killed_twice_is_as_if_never(tmp_path, monkeypatch):
    import wandb

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    cli.train([*DEMO, "--run", "whole"])
    wandb.finish()
    wandb.teardown()

    kill_where("train:3", 1, 7, *DEMO, "--run", "killed")
    counts = whole_files.check(Path("runs/killed"))
    assert min(counts[kind] for kind in (".jpg", ".js", ".html", ".yaml", ".ckpt")) >= 1
    assert list(Path("runs/killed/wandb").rglob("*.jpg")), "W&B's pictures are among them"
    assert torch.load(LAST, weights_only=True)["global_step"] == 5
    (first,) = segments(Path("runs/killed"))
    assert max(steps_of(first)) >= 6, "it was logged what will be logged again"

    # In the second validation after a resume, with the configuration that lies in the run folder.
    kill_where("val:1", 2, 14, "fit", "-c", CONFIG, "--ckpt_path", LAST)
    whole_files.check(Path("runs/killed"))
    assert torch.load(LAST, weights_only=True)["global_step"] == 10

    cli.train(["fit", "-c", CONFIG, "--ckpt_path", LAST])
    wandb.finish()
    wandb.teardown()
    whole_files.check(Path("runs/killed"))
    assert sorted(os.listdir("runs")) == ["killed", "whole"]

    never, resumed = (
        torch.load(f"runs/{name}/checkpoints/last.ckpt", weights_only=True) for name in ("whole", "killed")
    )
    assert never["global_step"] == resumed["global_step"] == 15
    for key in ("state_dict", "livecam_random_states", "optimizer_states", "lr_schedulers"):
        assert same(resumed[key], never[key]), key
    counted = [state["validations"] for state in resumed["callbacks"].values() if "validations" in state]
    assert counted == [3] * 3

    assert entries(page_of("killed")) == entries(page_of("whole"))
    assert page_of("killed")["status"] == "finished"

    (alone,) = segments(Path("runs/whole"))
    parts = segments(Path("runs/killed"))
    assert len(parts) == 3 and all(ids_of(part) == {"killed"} for part in parts)
    firsts = [min(steps_of(part)) for part in parts]
    assert firsts == [0, 5, 10] and set(steps_of(parts[-1])) == set(range(10, 15))
    # Rows of overlapping steps are in W&B twice; of each step the last one is that of the training never killed.
    for key in ("explanations/gallery.captions", "explanations/features.captions", "val/accuracy", "train/loss"):
        ours = {row[STEP]: row[key] for part in parts for row in rows_of(part) if key in row}
        assert ours == {row[STEP]: row[key] for row in rows_of(alone) if key in row} and len(ours) >= 3, key
    shown = [row["explanations/gallery.captions"] for part in parts for row in rows_of(part) if "val/accuracy" in row]
    assert all(names_of(captions) == names_of(shown[0]) and len(captions) == 8 for captions in shown)
