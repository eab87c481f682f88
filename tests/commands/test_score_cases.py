"""``explain.py score`` on photos, and on command lines that make no sense."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.checkpoints import save_unet
from helpers.toys import build
from PIL import Image
from scored import CHECKPOINT, CPU, LOCALIZATION, PLANTED, images_asked, planted, rows_of, score, summary
from test_cli import refused

from livecam import cli
from livecam.data import PlantedShapesData
from livecam.explain import explain
from livecam.models import build_model
from livecam.training.checkpoint import load_classifier


def test_methods_that_do_not_fit_are_said_once_and_the_others_scored(here, capsys, caplog):
    torch.save(build(build_model, "torchvision/squeezenet1_1", 4).state_dict(), "squeezenet.pth")
    named = ["--model", "torchvision/squeezenet1_1", "--weights", "squeezenet.pth", "--num_classes", "4"]
    args = ["score", *named, "--image_size", "48", *PLANTED, *LOCALIZATION, "--batch_size", "4"]
    cli.explain([*args, "--methods", "cam,gradcam"])
    told = capsys.readouterr()
    assert caplog.text.count("'cam' failed and is left out. CAM needs a head of global average") == 1
    assert "Traceback" in caplog.text and "CAM does not fit" in told.out and "Grad-CAM does not fit" not in told.out
    rows = rows_of("scores/scores.csv")
    assert {method for _, method in rows} == {"gradcam", "cam", "centered_gaussian"} and len(rows) == 36
    assert {row["of"] for row in rows.values()} == {"3"}
    assert {method for (_, method), row in rows.items() if row["failed"] == "1"} == {"cam"}
    assert summary()["failed_maps"] == {"cam": 12, "gradcam": 0, "centered_gaussian": 0}
    assert list(summary()["metrics"]["localization"]) != [] and "cam" not in summary()["metrics"]["localization"]


def test_photos_without_boxes_and_files_that_cannot_be_read(photos, capsys):
    rows = score(*photos, "--methods", "cam", "--metrics", "energy_in_mask,sharpness", "--batch_size", "2")
    assert {index for index, _ in rows} == {0, 1, 2, 4}
    assert {row["file"] for row in rows.values()} == {f"images/{index}.png" for index in (0, 1, 2, 4)}
    # Nothing to compare with is blank, not a number.
    assert rows[2, "cam"]["energy_in_mask"] == rows[2, "cam"]["energy_in_mask_chance"] == ""
    assert rows[2, "cam"]["sharpness"] not in ("", "nan")
    # 50 x 40 px become 32 x 32: the first box covers 4/50 to 20/50 and 4/40 to 16/40.
    assert float(rows[0, "cam"]["energy_in_mask_chance"]) == pytest.approx(16 / 50 * 12 / 40, abs=0.01)
    assert float(rows[4, "cam"]["energy_in_mask"]) == pytest.approx(1)
    told = summary()
    assert (told["images"], told["unreadable"]) == (4, 1)
    lines = told["metrics"]
    assert lines["energy_in_mask"]["centered_gaussian"]["n"] == 3 and lines["sharpness"]["centered_gaussian"]["n"] == 4
    out = capsys.readouterr().out
    assert "4 images of 5" in out and "1 unreadable left out" in out
    # Again: the file is tried anew, and nothing else is done.
    with images_asked(planted(1)) as asked:
        assert score(*photos, "--methods", "cam", "--metrics", "energy_in_mask,sharpness", "--batch_size", "2") == rows
    assert asked == [] and summary() == told


def test_undefined_images_are_counted(photos, capsys):
    entries = json.loads(Path("photos/annotations.json").read_text())
    # So narrow that no pixel's center lies in it.
    entries["0.png"]["boxes"] = [[4.6, 4.6, 5.4, 5.4]]
    Path("photos/annotations.json").write_text(json.dumps(entries))
    rows = score(*photos, "--methods", "cam", *LOCALIZATION)
    assert rows[0, "centered_gaussian"]["localization"] == "nan"
    line = summary()["metrics"]["localization"]["centered_gaussian"]
    assert (line["n"], line["undefined"]) == (2, 1)
    assert "undefined" in capsys.readouterr().out


def test_a_metric_that_no_image_suits_says_so(photos, capsys):
    entries = json.loads(Path("photos/annotations.json").read_text())
    Path("photos/annotations.json").write_text(json.dumps({name: {"label": 0} for name in entries}))
    score(*photos, "--methods", "cam", "--metrics", "localization,sharpness")
    assert "No image has what this metric compares with." in capsys.readouterr().out
    assert summary()["metrics"]["localization"] == {} and summary()["metrics"]["sharpness"]
    assert "No image has what this metric compares with." in Path("scores/index.html").read_text()


def test_figures_that_nothing_defines_are_null(photos):
    entries = json.loads(Path("photos/annotations.json").read_text())
    Path("photos/annotations.json").write_text(json.dumps({"4.png": entries["4.png"], "1.png": entries["1.png"]}))
    score(*photos, "--methods", "cam", "--metrics", "energy_in_mask(small=0.01)")
    figures = summary()["metrics"]["energy_in_mask"]["centered_gaussian"]["figures"]
    assert figures["small_lift"] == {"value": None, "low": None, "high": None}


def test_nothing_readable(photos, capsys):
    Path("photos/annotations.json").write_text(json.dumps({"3.jpg": {"label": 0}}))
    told = refused(capsys, "score", "--checkpoint", CHECKPOINT, *photos, *LOCALIZATION, command=cli.explain)
    assert told == "None of the 1 images could be read."


@pytest.mark.parametrize("workers", ["0", "1"])
def test_what_a_loader_process_refuses_is_one_sentence(photos, capsys, workers):
    entries = json.loads(Path("photos/annotations.json").read_text())
    entries["1.png"]["width"] = 51
    Path("photos/annotations.json").write_text(json.dumps(entries))
    args = ["--checkpoint", CHECKPOINT, *photos, "--data.num_workers", workers, "--data.max_unreadable", "1"]
    # One photo cannot be read, which is as many as may; the other's mask is one too many.
    entries["0.png"]["width"] = 51
    Path("photos/annotations.json").write_text(json.dumps(entries))
    told = refused(capsys, "score", *args, command=cli.explain)
    assert told.startswith("The annotations of ") and "drawn on 51 x 40 px" in told


def test_another_network_as_reference(here):
    reference = save_unet(here / "reference.ckpt", seed=3)
    words = ["--reference", reference, "--reference_method", "cam", "--methods", "cam", *LOCALIZATION]
    rows = score(*PLANTED, *words)
    data, labels = planted(), [index % 4 for index in range(12)]
    images = torch.stack([data[index]["image"] for index in range(12)])
    energy, truth = (
        explain(load_classifier(path), images, ["cam"], torch.tensor(labels), head="softmax")["cam"].energy.double()
        for path in (CHECKPOINT, reference)
    )
    for index in range(12):
        low, high = truth[index].min(), truth[index].max()
        inside = (truth[index] - low) / (high - low) >= 0.5
        share = (energy[index] * inside).sum() / energy[index].sum()
        value = float(rows[index, "cam"]["localization_ref"])
        assert value == pytest.approx(float(share), abs=1e-4, nan_ok=True)
        assert rows[index, "cam"]["localization"] != value


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (
            ["--metrics", "localizatoin"],
            "Unknown metric 'localizatoin'. Did you mean localization",
        ),
        (["--metrics", "insertion_deletion(stepp=3)"], "there is no option 'stepp'. Did you mean step?"),
        (["--metrics", "insertion_deletion(step=3"], "cannot be read: options follow a name like"),
        (["--metrics", "insertion_deletion(step=-3)"], "step is a whole number from 1, got -3."),
        (["--metrics", "localization,localization"], "'localization' is there twice"),
        (["--metrics", "localization_ref"], "compares with another network"),
        (["--metrics", ","], "No metric was named"),
        (["--methods", "gradcm"], "Unknown method 'gradcm'. Did you mean gradcam"),
        (["--methods", "occlusion(window_sise=8)"], "there is no option 'window_sise'. Did you mean window_size?"),
        (["--methods", "cam,cam"], "Two explainers are called 'cam'"),
        (["--methods", ","], "No method was named"),
        (["--limit", "0"], "limit is a whole number from 1, got 0."),
        (["--batch_size", "0"], "batch_size is a whole number from 1, got 0."),
        (["--target", "lable"], "lable"),
        (["--metrcs", "pointing"], "There is no option --metrcs. Did you mean --metrics"),
        (["--reference", "torchvision/resnet18"], "has random weights: add --reference_weights pretrained"),
        (["--reference", "none.ckpt"], "No checkpoint at none.ckpt"),
        (["--checkpoint", "none.ckpt"], "No checkpoint at none.ckpt"),
        (["--model", "unet"], "either --checkpoint FILE, or --model NAME"),
        (["--data", "PlantedShapesDta"], "There is no class 'PlantedShapesDta'. Did you mean PlantedShapesData"),
        (["--trainer.devices", "x"], "Try --trainer.accelerator cpu"),
    ],
)
def test_wrong_command_lines(here, capsys, args, sentence):
    told = refused(capsys, "score", "--checkpoint", CHECKPOINT, *PLANTED, *args, command=cli.explain)
    assert sentence in told
    # What failed before its first image does not stand in the way of the command put right.
    assert score(*PLANTED, "--methods", "cam", "--metrics", "sharpness", "--limit", "1")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there(here, capsys):
    args = ["--checkpoint", CHECKPOINT, *PLANTED, "--trainer.accelerator", "gpu"]
    assert "Try --trainer.accelerator cpu" in refused(capsys, "score", *args, command=cli.explain)


def test_classes_of_data_and_network_differ(photos, capsys):
    three = save_unet(Path("three.ckpt"), class_names=["a", "b", "c"])
    told = refused(capsys, "score", "--checkpoint", three, *photos, command=cli.explain)
    assert "label 3, but there are 3 classes" in told
    for name in ("cat", "dog"):
        Path("folders", name).mkdir(parents=True)
        for index in range(4):
            Image.fromarray(np.full((40, 40, 3), index, np.uint8)).save(f"folders/{name}/{index}.png")
    data = ["--data", "ImageFolderData", "--data.root", "folders", *CPU]
    told = refused(capsys, "score", "--checkpoint", three, *data, command=cli.explain)
    assert told.startswith("ImageFolderData has 2 classes and unet tells 3 apart: their labels do not mean the same.")


class OnDevice(PlantedShapesData):
    """Normalizes batches on the device, as some data modules do."""

    def __init__(self, val_length: int = 12) -> None:
        super().__init__(image_size=32, val_length=val_length, batch_size=4)
        self.sets["val"].transform = None

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch | {"image": self.normalization.to_input(batch["image"])}


def test_what_data_do_to_batches_on_the_device_is_done(here):
    expected = score(*PLANTED, "--methods", "cam", *LOCALIZATION)
    given = ["--data", f"{__name__}.OnDevice", *CPU, "--methods", "cam", *LOCALIZATION]
    found = score(*given, out="device")
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert float(found[key]["localization"]) == pytest.approx(float(row["localization"]), abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("metric", ["randomization", "sharpness"])
def test_a_remark_of_a_method_is_made_once(here, metric, recwarn):
    # Of four batches, and with one of the metrics of eight more explanations each.
    score(*PLANTED, "--methods", "gradual_cam", "--metrics", metric, "--batch_size", "3")
    assert sum("is CAM itself here" in str(warning.message) for warning in recwarn) == 1


def test_two_settings_of_one_metric(here):
    words = "energy_in_mask,energy_in_mask(small=0.1, name='tiny')"
    rows = score(*PLANTED, "--methods", "cam", "--metrics", words)
    told = summary()["metrics"]
    assert list(told) == ["energy_in_mask", "tiny"]
    assert told["energy_in_mask"]["cam"]["figures"]["lift"] == told["tiny"]["cam"]["figures"]["lift"]
    few = [row for row in rows.values() if row["tiny_small"] != "nan" and row["method"] == "cam"]
    assert told["tiny"]["cam"]["figures"]["small_n"]["value"] == len(few) < 12
    assert all(float(row["energy_in_mask_chance"]) < 0.1 for row in few)
