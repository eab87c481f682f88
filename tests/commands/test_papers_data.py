"""COCO and ImageNet classes as people train on them, end to end on real photos."""

import csv
import tarfile
from pathlib import Path

import pytest
import torch

from livecam import cli
from livecam.data import Coco

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The number of training batches"),
    pytest.mark.filterwarnings("ignore:There is a wandb run already"),
]
CONFIGS = Path(__file__).parents[2] / "configs"
QUICK = [
    "--trainer.accelerator",
    "cpu",
    "--trainer.enable_progress_bar",
    "false",
    "--trainer.enable_model_summary",
    "false",
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    return tmp_path


def net(data_folder):
    return [
        "--model.model",
        "torchvision/mobilenet_v2",
        "--model.weights",
        f"{data_folder}/weights/mobilenet_v2_imagenet.pth",
    ]


def test_a_coco_head_is_fitted_and_its_categories_are_pointed_at(here, data_folder, capsys):
    # 60 images to fit on, 40 to score; smaller than for a study, whose numbers docs/coco.md has.
    data = ["--data.root", f"{data_folder}/coco_subset", "--data.val_fraction", "0.4", "--data.image_size", "128"]
    few = ["--data.batch_size", "20", "--data.num_workers", "0", "--trainer.max_epochs", "4", "--model.lr", "0.01"]
    once = [
        "--trainer.check_val_every_n_epoch",
        "4",
        "--trainer.callbacks=ModelCheckpoint",
        "--trainer.callbacks.save_last=true",
    ]
    cli.train(["fit", "-c", str(CONFIGS / "coco.yaml"), *data, *few, *net(data_folder), *once, *QUICK, "--run", "coco"])
    checkpoint = "runs/coco/checkpoints/last.ckpt"
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    before = torch.load(f"{data_folder}/weights/mobilenet_v2_imagenet.pth", weights_only=True)
    assert torch.equal(state["net.features.17.conv.2.weight"], before["features.17.conv.2.weight"]), (
        "only the head learns"
    )
    assert state["net.classifier.1.weight"].shape == (80, 1280)

    words = ["--checkpoint", checkpoint, "--min_probability", "0.5", "--methods", "gradcam,wgradcam"]
    capsys.readouterr()
    cli.explain(["score", *words, "--metrics", "pointing(num_categories=80)", "--trainer.accelerator", "cpu"])
    said = capsys.readouterr().out
    with open("scores/scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    val = Coco(f"{data_folder}/coco_subset", val_fraction=0.4).sets["val"]
    assert len(val) == 40 and {int(row["index"]) for row in rows} == set(range(40))
    pairs = sum(len(photo.labels) for photo in val.photos)
    explained = [row for row in rows if row["method"] == "gradcam"]
    left = [row for row in rows if row["method"] == "" and row["label"]]
    assert len(explained) + len(left) == pairs and 5 <= len(explained) < pairs
    assert all(float(row["probability"]) >= 0.5 for row in explained)
    assert all(int(row["target"]) in val.photos[int(row["index"])].labels for row in explained)
    categories = len({row["target"] for row in explained})
    told = f"{len(explained)} pairs of image and category explained, of {categories} categories"
    assert f"{told} · {len(left)} below probability 0.5" in said


def test_imagenet_classes_train_from_a_plain_folder(here, data_folder):
    with tarfile.open(data_folder / "imagenette128.tar") as archive:
        counts = {}
        for member in archive:
            folder = str(Path(member.name).parent)
            counts[folder] = counts.get(folder, 0) + 1
            if member.isdir() or counts[folder] <= (10 if "/train/" in member.name else 3):
                archive.extract(member, here, filter="data")
    few = ["--data.image_size", "96", "--data.batch_size", "20", "--data.num_workers", "0", "--trainer.max_epochs", "1"]
    few += ["--model.freeze_backbone", "true", "--model.lr", "0.01"]
    cli.train(
        [
            "fit",
            "-c",
            str(CONFIGS / "folder.yaml"),
            "--data.root",
            "imagenette128",
            *few,
            *net(data_folder),
            *QUICK,
            "--run",
            "nette",
        ]
    )
    history = Path("runs/nette/data.js").read_text()
    accuracy = torch.load("runs/nette/checkpoints/last.ckpt", weights_only=True)["callbacks"]
    best = next(float(state["best_model_score"]) for name, state in accuracy.items() if "ModelCheckpoint" in name)
    assert best > 0.5, "ten classes that the network knows, after five steps"
    assert "explanations/gallery" in history and "val/sharpness/gradcam" in history
