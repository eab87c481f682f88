"""The real W&B SDK, offline, its history read back."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lightning import Trainer
from PIL import Image

from livecam.callbacks import ExplanationGallery, ExplanationScores, FeatureMapGallery
from livecam.data.planted import PlantedShapesData
from livecam.explain import CAM, GradCAM
from livecam.report.log_media import log_images, log_table
from livecam.report.wandb_logger import RunFolderWandbLogger
from livecam.training.classifier import Classifier

pytestmark = pytest.mark.usefixtures("nobody_logged_in")


def history(folder: Path) -> list[dict]:
    """History rows of the offline run below ``folder``, as W&B's own reader prints them."""
    (log,) = folder.glob("wandb/offline-run-*/*.wandb")
    tool = shutil.which("wandb", path=str(Path(sys.executable).parent)) or shutil.which("wandb")
    told = subprocess.run([tool, "leet", "inspect", "--json", str(log)], capture_output=True, text=True, check=True)
    records = [json.loads(line) for line in told.stdout.splitlines() if line.startswith("{")]
    return [record["history"]["item"] for record in records if record["type"] == "history"]


@pytest.mark.slow
def test_one_row_per_validation_holds_galleries_and_scores(tmp_path):
    import wandb

    logger = RunFolderWandbLogger(str(tmp_path), "run")
    methods = [GradCAM(), CAM()]
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=1,
        logger=logger,
        callbacks=[ExplanationGallery(methods, samples=3), FeatureMapGallery(samples=2), ExplanationScores(methods)],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
    )
    data = PlantedShapesData(image_size=32, train_length=16, val_length=12, batch_size=8)
    trainer.fit(Classifier("unet", 4, model_args={"width": 4, "depth": 1}), datamodule=data)
    assert logger.experiment.settings._offline
    wandb.finish()
    rows = history(tmp_path / "run")
    galleries = [row for row in rows if "explanations/gallery._type" in row]
    scored = [row for row in rows if "val/localization/gradcam" in row]
    assert len(galleries) == 3  # untrained, and after each epoch
    assert len(scored) == 2 and all("explanations/gallery._type" in row for row in scored)
    assert [row for row in rows if "explanations/features._type" in row] == galleries
    assert all(row["explanations/features.count"] == 2 for row in galleries)
    assert galleries[0]["trainer/global_step"] == 0 and "val/loss" not in galleries[0]
    assert [row["trainer/global_step"] for row in scored] == [1, 3]
    for row in scored:
        assert {"val/loss", "val/accuracy", "val/localization/cam", "val/explanation_seconds"} <= row.keys()
        assert row["explanations/gallery.count"] == 3
        assert all("predicted" in caption for caption in row["explanations/gallery.captions"])
    (files,) = (tmp_path / "run").glob("wandb/offline-run-*/files")
    for name in scored[-1]["explanations/gallery.filenames"]:
        pixels = np.asarray(Image.open(files / name).convert("RGB"))
        assert pixels.mean() > 40 and pixels.std() > 20 and pixels.shape[1] > pixels.shape[0]
    tables = [row for row in rows if any(key.startswith("explanations/gallery_table") for key in row)]
    assert len(tables) == 1
    (table,) = (files / "media" / "table").rglob("gallery_table*.json")
    content = json.loads(table.read_text())
    assert content["columns"][:3] == ["picture", "sample", "label"] and len(content["data"]) == 3


@pytest.mark.slow
def test_pictures_are_there_when_the_call_returns_and_keep_their_colors(tmp_path):
    import wandb

    logger = RunFolderWandbLogger(str(tmp_path), "run")
    # Edges between colors of equal lightness, as between a frame and a map.
    edges = np.zeros((64, 96, 3), np.uint8)
    edges[:, ::7], edges[:, 1::7] = (196, 56, 48), (40, 110, 120)
    given = [edges, edges[::-1, ::-1].copy()]
    log_images(logger, "explanations/gallery", given, ["one", "two"], 7)
    (folder,) = tmp_path.glob("run/wandb/offline-run-*/files/media/images/explanations")
    shown = {file.name: np.asarray(Image.open(file)).astype(int) for file in folder.iterdir()}
    assert len(shown) == 2 and all(name.endswith(".jpg") for name in shown)
    for picture in given:
        assert min(np.abs(found - picture).max() for found in shown.values()) < 25
    log_table(logger, "table", ["a"], [[1], [2]], given)
    wandb.finish()
    (row,) = (row for row in history(tmp_path / "run") if "explanations/gallery._type" in row)
    assert row["explanations/gallery.captions"] == ["one", "two"] and row["trainer/global_step"] == 7
    (table,) = tmp_path.glob("run/wandb/offline-run-*/files/media/table/*.json")
    assert json.loads(table.read_text())["columns"] == ["picture", "a"]


def test_a_run_resumes_under_its_own_id(tmp_path):
    assert RunFolderWandbLogger(str(tmp_path), "mine").version == "mine"


@pytest.mark.parametrize(
    ("variable", "value", "offline"),
    [("WANDB_API_KEY", "x" * 40, False), ("WANDB_MODE", "online", False), (None, None, True)],
)
def test_offline_only_when_nobody_is_logged_in(tmp_path, monkeypatch, variable, value, offline):
    if variable:
        monkeypatch.setenv(variable, value)
    assert RunFolderWandbLogger(str(tmp_path), "r")._offline is offline


def test_a_login_in_netrc_counts(tmp_path, monkeypatch):
    file = tmp_path / "netrc"
    file.write_text("machine api.wandb.ai login user password " + "x" * 40 + "\n")
    monkeypatch.setenv("NETRC", str(file))
    assert RunFolderWandbLogger(str(tmp_path), "r")._offline is False
