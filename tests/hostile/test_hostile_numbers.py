"""NaN and infinity in weights, maps and pixels: pictures are drawn, the answer says so, nothing ends in a traceback."""

import json

import numpy as np
import pytest
import torch
from helpers.checkpoints import save_unet
from hostile_files import photo

from livecam import cli
from livecam.report.drawing.colormap import apply_colormap
from livecam.report.drawing.panels import Panel, overlay, signed_display, strip, to_uint8, unsigned_display

VALUES = [float("nan"), float("inf"), float("-inf")]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("signed", [False, True])
def test_maps_that_are_no_numbers_are_drawn(signed, value):
    maps = torch.rand(2, 6, 6, generator=torch.Generator().manual_seed(0))
    clean = overlay(torch.full((2, 3, 6, 6), 0.5), maps, signed)
    maps[0, 2, 3] = value
    pictures = overlay(torch.full((2, 3, 6, 6), 0.5), maps, signed)
    assert apply_colormap(maps, signed).isfinite().all()
    assert torch.equal(pictures[1], clean[1]), "the other image's picture is its own"
    left = torch.ones(6, 6, dtype=torch.bool)
    left[2, 3] = False
    assert torch.equal(pictures[0][:, left], clean[0][:, left])
    strip([Panel("map", pictures[0])], "caption")


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("clip_fraction", [0.0, 0.1])
def test_scaling_for_display_keeps_to_its_range_for_the_others(value, clip_fraction):
    raw = torch.randn(2, 6, 6, generator=torch.Generator().manual_seed(0))
    signed, unsigned = signed_display(raw, clip_fraction), unsigned_display(raw.abs(), clip_fraction)
    raw[0, 0, 0] = value
    assert torch.equal(signed_display(raw, clip_fraction)[1], signed[1])
    assert torch.equal(unsigned_display(raw.abs(), clip_fraction)[1], unsigned[1])


def test_pixels_that_are_no_numbers_are_black():
    pixels = torch.tensor([float("nan"), float("inf"), float("-inf"), 0.5]).expand(3, 1, 4)
    assert to_uint8(pixels)[0, :, 0].tolist() == [0, 255, 0, 128]


@pytest.fixture
def diverged(here):
    """A folder with a checkpoint as a training leaves it whose weights became NaN."""
    content = torch.load(save_unet(here / "net.ckpt"), weights_only=True)
    for value in content["state_dict"].values():
        if value.is_floating_point():
            value.fill_(torch.nan)
    torch.save(content, here / "net.ckpt")
    return here


@pytest.mark.parametrize("methods", ["gradcam,gradcam_pp,xgradcam", "input_x_gradient,smoothgrad,excitation_backprop"])
def test_a_network_of_nan_is_explained_by_nothing(diverged, capsys, methods):
    photo(diverged / "a.png", size=(40, 40))
    args = ["maps", "a.png", "--checkpoint", "net.ckpt", "--methods", methods, "--device", "cpu"]
    with pytest.raises(SystemExit) as stop:
        cli.explain(args)
    # All is drawn, and the command does not pass for one that went well.
    told = capsys.readouterr()
    assert stop.value.code == 2 and "1 photo explained" in told.out
    assert told.err.strip().splitlines()[-1] == "error: Every map failed: the log says why."
    with np.load("explanations/maps.npz") as arrays:
        found = {name: arrays[name] for name in arrays.files if arrays[name].ndim == 3}
    assert len(found) == 3 and all((array == 0).all() for array in found.values())


def test_maps_of_a_network_of_nan_are_counted_and_not_scored(diverged):
    args = (
        ["score", "--checkpoint", "net.ckpt", "--data", "PlantedShapesData", "--data.image_size", "32",
         "--data.val_length", "4", "--methods", "gradcam", "--metrics", "localization,insertion_deletion,confidence",
         "--trainer.accelerator", "cpu", "--out", "scores"]
    )  # fmt: skip
    with pytest.raises(SystemExit) as stop:
        cli.explain(args)
    assert stop.value.code == 2
    summary = json.loads((diverged / "scores" / "summary.json").read_text())
    told = summary["metrics"]
    assert summary["failed_maps"] == {"gradcam": 4, "centered_gaussian": 0}
    assert not any("gradcam" in told[metric] for metric in ("localization", "insertion_deletion", "confidence"))
    assert told["localization"]["centered_gaussian"]["n"] == 4, "what asks no network is scored"
