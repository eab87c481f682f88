"""Live scores and ``explain.py score`` say the same of one network on one validation set, also of what fails."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
import yaml
from helpers.checkpoints import save_unet
from lightning import Trainer
from PIL import Image

import livecam.explain
from livecam import cli
from livecam.callbacks import ExplanationScores
from livecam.evaluation.datasets import data_for
from livecam.evaluation.fault_tolerance import FaultTolerantExplainer
from livecam.evaluation.loaded_network import NetworkOptions, load_network
from livecam.explain import Explainer, by_name
from livecam.metrics import EnergyInMask, InsertionDeletion, LocalizationScore, Sharpness
from livecam.runtime.failures import FailurePolicy
from livecam.training.checkpoint import load_classifier

CONFIG = yaml.safe_load((Path(__file__).parents[2] / "configs" / "demo.yaml").read_text())
PLANTED = {"class_path": "livecam.data.PlantedShapesData", "init_args": {"val_length": 12, "num_workers": 0}}
PHOTOS = {"class_path": "livecam.data.AnnotatedPhotos", "init_args": {"root": "photos", "num_workers": 0}}


def network():
    return load_network(NetworkOptions(checkpoint="net.ckpt"))


def of_configuration(settings: dict) -> Explainer:
    """An explainer as the default configuration writes it."""
    options = {
        key: of_configuration(value) if isinstance(value, dict) else value
        for key, value in settings.get("init_args", {}).items()
    }
    return getattr(livecam.explain, settings["class_path"])(**options)


def of_all_callbacks() -> list[Explainer]:
    callbacks = CONFIG["trainer"]["callbacks"]
    explainers = [one for callback in callbacks for one in callback.get("init_args", {}).get("explainers", [])]
    return list({explainer.name: explainer for explainer in map(of_configuration, explainers)}.values())


def live(given: dict, explainers, metrics, batch_size: int):
    """Results of the callback, and what it logged."""
    data = data_for(network(), given | {"init_args": given["init_args"] | {"batch_size": batch_size}})
    scores = ExplanationScores(explainers, metrics)
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(callbacks=[scores], enable_checkpointing=False, **options)
    trainer.validate(load_classifier("net.ckpt"), datamodule=data, verbose=False)
    return scores.results, trainer.callback_metrics


def command(given: dict, methods: str, metrics: str, batch_size: int) -> dict:
    options = [part for key, value in given["init_args"].items() for part in (f"--data.{key}", str(value))]
    args = ["score", "--checkpoint", "net.ckpt", "--data", given["class_path"], *options, "--methods", methods]
    cli.explain([*args, "--metrics", metrics, "--batch_size", str(batch_size), "--trainer.accelerator", "cpu"])
    return json.loads(Path("scores", "summary.json").read_text())


def compare(results: dict, summary: dict, methods: list[str]) -> None:
    """Every figure that one of them prints is what the other prints; both print three digits."""
    for metric, lines in summary["metrics"].items():
        for method in methods:
            line = lines[method]
            parts = {part: figure["value"] for part, figure in line["figures"].items()}
            parts |= {count: line[count] for count in ("n", "undefined", "degenerate")}
            for part, value in parts.items():
                key = metric if part == metric else f"{metric}_{part}"
                if value is not None and key in results:
                    # A thousandth of the last digit: no rounding of sums may decide.
                    assert results[key][method] == pytest.approx(value, abs=1e-6), (key, method)
            assert results[metric][method] == pytest.approx(parts[metric], abs=1e-6, nan_ok=True)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_unet(tmp_path / "net.ckpt")
    return tmp_path


@pytest.fixture
def photos(here):
    """Six photos, the third without a box."""
    noise, entries = np.random.default_rng(0), {}
    (here / "photos" / "images").mkdir(parents=True)
    for index in range(6):
        pixels = noise.integers(0, 255, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(f"photos/images/{index}.png")
        boxes = {} if index == 2 else {"boxes": [[4 + index, 4, 30, 30]]}
        entries[f"{index}.png"] = {"label": index % 4, "width": 50, "height": 40} | boxes
    (here / "photos" / "annotations.json").write_text(json.dumps(entries))


def test_every_method_of_the_default_configuration(here, monkeypatch):
    explainers = of_all_callbacks()
    assert {"gradcam", "gradcam_pp", "scorecam"} < {explainer.name for explainer in explainers}
    results, _ = live(PLANTED, explainers, None, 5)
    monkeypatch.setattr("livecam.evaluation.study.by_names", lambda words: list(explainers))
    summary = command(PLANTED, "those,of,the,configuration", "localization,sharpness", 4)
    assert {*summary["metrics"]["localization"]} == {*(e.name for e in explainers), "centered_gaussian"}
    compare(results, summary, [explainer.name for explainer in explainers])


@dataclass(frozen=True)
class Picky(Explainer):
    """Refuses images that are brighter than the others at one corner."""

    method: ClassVar[str] = "picky_at_two_doors"
    label: ClassVar[str] = "Picky"

    def explain(self, recording):
        corners = recording.images[:, :, 0, 0].mean(1)
        if (corners > 0.5).any():
            raise ValueError("too bright")
        return recording.images.mean(1)


@dataclass(frozen=True)
class Hungry(Explainer):
    """Has memory for two images at a time."""

    method: ClassVar[str] = "hungry_at_two_doors"
    label: ClassVar[str] = "Hungry"

    def explain(self, recording):
        if len(recording.images) > 2:
            raise MemoryError
        return recording.images.square().mean(1)


@pytest.mark.parametrize("sizes", [(6, 6), (5, 2), (1, 4)], ids=str)
def test_the_same_failures_end_the_same_way(photos, caplog, sizes):
    methods = [Picky.method, Hungry.method, "gradcam"]
    metrics = [LocalizationScore(), EnergyInMask(), Sharpness(), InsertionDeletion(step=1024)]
    results, logged = live(PHOTOS, [by_name(name) for name in methods], metrics, sizes[0])
    told_live = [record.getMessage() for record in caplog.records if "Explainer" in record.getMessage()]
    caplog.clear()
    summary = command(
        PHOTOS, ",".join(methods), "localization,energy_in_mask,sharpness,insertion_deletion(step=1024)", sizes[1]
    )
    compare(results, summary, methods)
    dataset = data_for(network(), PHOTOS).val_dataloader().dataset
    bright = sum(bool(dataset[index]["image"][:, 0, 0].mean() > 0.5) for index in range(6))
    assert 0 < bright < 6, "some images are refused, and some are not"
    assert summary["failed_maps"] == {Picky.method: bright, Hungry.method: 0, "gradcam": 0, "centered_gaussian": 0}
    assert logged["val/failed_maps"] == bright and logged["val/images_without_mask"] == 1
    for metric, annotated in (("localization", 5), ("sharpness", 6)):
        line = summary["metrics"][metric]["gradcam"]
        assert line["n"] + line["undefined"] == annotated
    told = [record.getMessage() for record in caplog.records if "Explainer" in record.getMessage()]
    # Each is told once with its traceback; how memory ends depends on how many images there are.
    refused = [f"Explainer {Picky.method!r} failed and is left out. too bright"]
    assert [text for text in told if "failed" in text] == refused
    assert [text for text in told_live if "failed" in text] == refused
    assert all(record.exc_info for record in caplog.records if "Explainer" in record.getMessage())


def test_a_network_that_fails_is_no_fault_of_a_method(here):
    class Broken(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3)

        def forward(self, images):
            if len(images) > 1:
                raise RuntimeError("the network is broken")
            return self.conv(images).mean((2, 3))

    explaining = FaultTolerantExplainer(FailurePolicy(strict=False))
    with pytest.raises(RuntimeError, match="the network is broken"):
        explaining(Broken(), torch.rand(3, 3, 8, 8), None, [by_name("saliency"), by_name("gradcam(layer='conv')")])
