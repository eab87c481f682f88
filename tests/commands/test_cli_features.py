"""``explain.py features``, in process."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.checkpoints import SHAPES, save_unet
from PIL import Image

from livecam import cli
from livecam.explain.feature_maps import feature_maps
from livecam.training.checkpoint import load_classifier


@pytest.fixture
def checkpoint(here):
    return save_unet(here / "net.ckpt")


@pytest.fixture
def photos(here):
    """Three photos of random pixels and a file that is none."""
    numbers = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(numbers.integers(0, 255, (40, 60, 3), np.uint8)).save(here / f"<b>&{number}.png")
    (here / "broken.jpg").write_bytes(b"no picture")
    return [f"<b>&{number}.png" for number in range(3)] + ["broken.jpg"]


def refused(capsys, *args: str) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.explain(["features", *args])
    assert stop.value.code == 2
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return told.removeprefix("error: ")


def test_pictures_arrays_and_page(here, checkpoint, photos, capsys):
    cli.explain(["features", *photos, "--checkpoint", checkpoint, "--strongest", "3", "--batch_size", "2"])
    told = capsys.readouterr()
    assert "Feature maps of 3 photos, 1 unreadable skipped" in told.out and "broken.jpg" in told.err
    out = here / "features"
    assert {file.name for file in out.iterdir()} == {
        "index.html",
        "features.npz",
        "_b__0.png",
        "_b__1.png",
        "_b__2.png",
    }
    page = (out / "index.html").read_text()
    assert "Feature maps of unet" in page and "<b>&" not in page and "&lt;b&gt;&amp;" in page
    assert all(np.asarray(Image.open(picture)).std() > 20 for picture in out.glob("*.png"))

    arrays = np.load(out / "features.npz")
    assert arrays["files"].tolist() == photos[:3]
    net = load_classifier(checkpoint)
    known = net.hparams
    images = []
    for photo in photos[:3]:
        # As training did it for this checkpoint: the whole photo, stretched.
        pixels = np.asarray(Image.open(photo).resize((32, 32), Image.Resampling.BILINEAR), np.float32) / 255
        images.append(((torch.tensor(pixels) - torch.tensor(known.mean)) / torch.tensor(known.std)).movedim(-1, 0))
    expected = feature_maps(net, torch.stack(images), strongest=3)
    assert len(expected.layers) >= 2
    names = {layer.layer for layer in expected.layers}
    assert set(arrays) == {"files", "predicted", "probability"} | {
        f"{kind}/{name}" for kind in ("maps", "channels") for name in names
    }
    for layer in expected.layers:
        assert arrays[f"maps/{layer.layer}"].shape == (3, 3, *layer.size[1:])
        assert arrays[f"channels/{layer.layer}"].shape == (3, 3)
        # Resizing rounds to whole numbers of 0 to 255 in one of two orders: close is enough.
        mine = torch.from_numpy(arrays[f"maps/{layer.layer}"]).sum((1, 2, 3))
        torch.testing.assert_close(mine, layer.maps.sum((1, 2, 3)), rtol=0.02, atol=1)
    assert arrays["predicted"].tolist() == expected.predicted.tolist()


def test_chosen_layers_and_channels(here, checkpoint, photos):
    args = ["--checkpoint", checkpoint, "--layers", "bottleneck, decoder", "--channels", "3,0", "--out", "out"]
    cli.explain(["features", photos[0], *args])
    arrays = np.load(here / "out" / "features.npz")
    assert [name for name in arrays if name.startswith("maps/")] == ["maps/net.bottleneck", "maps/net.decoder"]
    assert arrays["channels/net.bottleneck"].tolist() == [[3, 0]]
    assert arrays["maps/net.bottleneck"].shape == (1, 2, 16, 16)
    page = Path(here, "out", "index.html").read_text()
    assert any(f"predicted {name}" in page for name in SHAPES)


def test_one_channel_is_a_number_too(here, checkpoint, photos):
    cli.explain(["features", photos[0], "--checkpoint", checkpoint, "--channels", "2"])
    assert np.load(here / "features" / "features.npz")["channels/net.decoder"].tolist() == [[2]]


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--layers", "botleneck"], "has no layer 'botleneck'. Did you mean net.bottleneck"),
        (["--layers", "bottleneck", "--channels", "400"], "Layer 'net.bottleneck' has 8 channels, 0 to 7"),
        (["--layers", ","], "No layer is named"),
        (["--channels", "1,a"], "separated by commas, such as 0,5,17, got '1,a'"),
        (["--channels", "1,1"], "each once"),
        (["--strongest", "0"], "strongest is a whole number from 1, got 0"),
        (["--batch_size", "0"], "batch_size is a whole number from 1, got 0"),
        (["--device", "abacus"], "There is no device 'abacus'"),
        (["--model", "unet"], "either --checkpoint FILE, or --model NAME"),
        (["--layrs", "decoder"], "Did you mean --layers"),
    ],
)
def test_wrong_choices(checkpoint, photos, capsys, args, sentence):
    assert sentence in refused(capsys, photos[0], "--checkpoint", checkpoint, *args)


def test_wrong_photos(here, checkpoint, photos, capsys):
    assert "No checkpoint at none.ckpt" in refused(capsys, photos[0], "--checkpoint", "none.ckpt")
    assert "There is no file or folder x.png" in refused(capsys, "x.png", "--checkpoint", checkpoint)
    assert "None of the 1 photos could be read" in refused(capsys, "broken.jpg", "--checkpoint", checkpoint)
    assert not list(here.rglob("*.npz"))


def test_the_gallery_is_known_to_configurations(config, capsys):
    gallery = {"class_path": "FeatureMapGallery", "init_args": {"layers": ["bottleneck"], "channels": [0, 1]}}
    run = config(lambda settings: settings["trainer"].update(callbacks=[gallery]))
    with pytest.raises(SystemExit):
        cli.train(["fit", "-c", run, "--print_config"])
    (parsed,) = yaml.safe_load(capsys.readouterr().out)["trainer"]["callbacks"]
    assert parsed["class_path"].endswith("FeatureMapGallery")
    assert parsed["init_args"]["channels"] == [0, 1] and parsed["init_args"]["samples"] == 4
