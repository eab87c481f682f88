"""``explain.py score`` and ``reclassify`` on real photos with a trained network, where ``LIVECAM_DATA`` names them."""

import csv
import json
import os
from pathlib import Path

import pytest
from scored import CPU

from livecam import cli

DATA = os.environ.get("LIVECAM_DATA")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA, reason="LIVECAM_DATA names no folder of real photos"),
]


@pytest.fixture
def network():
    return ["--model", "torchvision/mobilenet_v2", "--weights", f"{DATA}/weights/mobilenet_v2_imagenet.pth"]


def test_photos_of_imagenet_with_their_boxes(network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = ["--data", "AnnotatedPhotos", "--data.root", f"{DATA}/ilsvrc_val", "--data.num_workers", "0", *CPU]
    words = ["--methods", "gradcam,saliency", "--metrics", "energy_in_mask,overlap,reclassification"]
    cli.explain(["score", *network, *data, *words, "--limit", "12"])
    told = json.loads(Path("scores/summary.json").read_text())
    assert told["images"] == 12 and told["accuracy"]["value"] >= 0.5, "labels mean what the network means"
    energy = {name: line["figures"] for name, line in told["metrics"]["energy_in_mask"].items()}
    assert energy["gradcam"]["lift"]["value"] > 1.05
    kept = {name: line["figures"]["kept"]["value"] for name, line in told["metrics"]["reclassification"].items()}
    assert kept["gradcam"] > kept["saliency"]
    with open("scores/scores.csv", newline="") as file:
        files = {row["file"] for row in csv.DictReader(file)}
    assert len(files) == 12 and all(Path(DATA, "ilsvrc_val", name).is_file() for name in files)


def test_wolves_are_wolves_again_where_grad_cam_leaves_them(network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--methods", "gradcam,gradual_gradcam", "--modes", "multiply", "--baselines", "black"]
    wolves = sorted(Path(DATA, "dogs_vs_wolves", "wolves").iterdir())[:12]
    cli.explain(["reclassify", *map(str, wolves), *network, *words, "--only", "269-271"])
    with open("reclassified/reclassify.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "gradcam"]
    assert len(rows) >= 6
    assert sum(float(row["kept"]) for row in rows) > len(rows) / 2
