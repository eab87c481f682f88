"""``explain.py maps`` for every class of a network, and of photos whose true class is known, in process."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.checkpoints import SHAPES, save_unet
from helpers.toys import build
from PIL import Image
from test_cli import refused

from livecam import cli
from livecam.data import DogsVsWolves
from livecam.models import build_model
from livecam.report.drawing.panels import BAD, GOOD
from livecam.training.checkpoint import load_classifier

CKPT = "runs/net/checkpoints/last.ckpt"


def plant(path: Path, red: int, seed: int = 0) -> None:
    noise = np.random.default_rng(seed).integers(0, 40, (40, 40, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.uint8(noise + np.array([red, 0, 0]))).save(path)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A net that calls red photos wolves, and photos of which two dogs and a wolf have the wrong color."""
    monkeypatch.chdir(tmp_path)
    save_unet(Path(CKPT), class_names=["dogs", "wolves"], head="binary")
    content = torch.load(CKPT, weights_only=True)
    for name, weight in content["state_dict"].items():
        if weight.ndim == 4 and weight.shape[2] > 1:
            # Every convolution hands on its first channel, red.
            weight.zero_()
            weight[:, 0, weight.shape[2] // 2, weight.shape[3] // 2] = 1
        elif name.endswith(("running_mean", "bias")):
            weight.zero_()
    torch.save(content, CKPT)
    net = load_classifier(CKPT)
    red, black = (torch.zeros(1, 3, 32, 32) - 2 for _ in range(2))
    red[:, 0] = 2
    with torch.no_grad():
        low, high = net(black).item(), net(red).item()
    # And the last layer turns black into a logit near -4, red into one near 4.
    last = [name for name, weight in content["state_dict"].items() if weight.shape[:1] == (1,) and weight.ndim == 2][-1]
    content["state_dict"][last] *= 8 / (high - low)
    content["state_dict"][last.replace("weight", "bias")] += -4 - low * 8 / (high - low)
    torch.save(content, CKPT)
    for number in range(6):
        plant(tmp_path / "pets" / "dogs" / f"dog{number}.png", 200 if number in (1, 4) else 0, number)
        plant(tmp_path / "pets" / "wolves" / f"wolf{number}.png", 0 if number == 3 else 200, 9 + number)
    return tmp_path


def maps(*args: str, out: str = "out") -> dict[str, np.ndarray]:
    cli.explain(["maps", *args, "--out", out])
    return dict(np.load(f"{out}/maps.npz"))


def names_of(found: dict[str, np.ndarray]) -> list[str]:
    return [Path(file).stem for file in found["files"]]


def shows(picture: str, color: tuple[int, int, int]) -> bool:
    """Whether a long line of one color stands in a picture, which letters do not have."""
    return bool(((np.asarray(Image.open(picture)) == color).all(2).sum(1) > 100).any())


def test_each_class_is_explained_as_it_is_alone(here):
    found = maps("pets", "--checkpoint", CKPT, "--target", "each", "--methods", "gradcam,cam", "--batch_size", "5")
    assert {name: array.shape for name, array in found.items()} == {
        "files": (12,),
        "predicted": (12,),
        "target": (12, 2),
        "probability": (12, 2),
        "gradcam": (12, 2, 32, 32),
        "cam": (12, 2, 32, 32),
    }
    assert np.allclose(found["probability"].sum(1), 1)
    assert (found["predicted"] == found["probability"].argmax(1)).all()
    for index, name in enumerate(("dogs", "wolves")):
        alone = maps("pets", "--checkpoint", CKPT, "--target", name, "--methods", "gradcam,cam", out=name)
        for key in ("target", "probability", "gradcam", "cam"):
            np.testing.assert_allclose(found[key][:, index], alone[key], atol=1e-6)
        for method in ("gradcam", "cam"):
            both = (f"{name}/overlays/dog0_{method}.png", f"out/overlays/dog0_{name}_{method}.png")
            assert len({Path(file).read_bytes() for file in both}) == 1
    page = Path("out/index.html").read_text()
    assert "each class" in page and page.count("<img ") == 12 and "dog0.png · predicted dogs · dogs 0." in page
    # Nobody asked for labels.
    assert not any(shows("out/dog0.png", color) for color in (GOOD, BAD))


def test_too_many_classes_or_networks_and_a_class_of_that_name(here, capsys):
    save_unet(Path("many.ckpt"), class_names=[str(number) for number in range(11)])
    told = refused(capsys, "maps", "pets", "--checkpoint", "many.ckpt", "--target", "each", command=cli.explain)
    assert told == ("Target each draws a row for every class, at most 10, and unet has 11: name one class instead.")
    both = ["pets", "--checkpoint", CKPT, "many.ckpt"]
    assert "one network" in refused(capsys, "maps", *both, "--target", "each", command=cli.explain)
    save_unet(Path("word.ckpt"), class_names=["every", "each", "some"])
    assert maps("pets", "--checkpoint", "word.ckpt", "--target", "each")["target"].tolist() == [1] * 12


def test_names_without_letters_give_overlays_numbers(here):
    save_unet(Path("signs.ckpt"), class_names=["+", "-"])
    maps("pets/dogs/dog0.png", "--checkpoint", "signs.ckpt", "--target", "each")
    assert sorted(file.name for file in Path("out/overlays").iterdir()) == [
        "dog0_class_0_gradcam.png",
        "dog0_class_1_gradcam.png",
    ]


@pytest.mark.parametrize("target", [[], ["--target", "each"]])
def test_folders_tell_the_true_class(here, target):
    plant(here / "elsewhere" / "stray.png", 200)
    maps("pets", "elsewhere", "--checkpoint", CKPT, "--labels", "folder", *target)
    for name, frame in (("dog0", GOOD), ("dog1", BAD), ("wolf0", GOOD), ("wolf3", BAD), ("stray", None)):
        assert [shows(f"out/{name}.png", color) for color in (GOOD, BAD)] == [frame == GOOD, frame == BAD]
    page = Path("out/index.html").read_text()
    assert "dog1.png · true dogs · predicted wolves" in page and "stray.png · predicted wolves" in page


def test_a_photo_of_the_working_directory_has_a_folder_too(here, monkeypatch):
    monkeypatch.chdir(here / "pets" / "dogs")
    maps("dog1.png", "--checkpoint", str(here / CKPT), "--labels", "folder")
    assert shows("out/dog1.png", BAD)


def test_picked_are_right_and_wrong_ones_of_every_class(here, capsys):
    plant(here / "elsewhere" / "stray.png", 200)
    (here / "pets" / "dogs" / "dog9.png").write_bytes(b"no picture")
    options = ["--checkpoint", CKPT, "--pick", "2", "--batch_size", "4"]
    found = maps("pets/wolves", "elsewhere", "pets/dogs", *options, "--target", "each")
    # Of four right dogs, 0 2 3 5, and five right wolves, 0 1 2 4 5.
    assert names_of(found) == ["dog0", "dog3", "dog1", "dog4", "wolf0", "wolf2", "wolf3"]
    told = capsys.readouterr()
    line = "12 photos classified (2 left out), accuracy 0.750: dogs 4 right, 2 wrong; wolves 5 right, 1 wrong."
    assert line in told.out.splitlines() and told.err.count("dog9.png") == 1
    assert line[:-1] in Path("out/index.html").read_text() and "7 photos explained" in told.out
    assert shows("out/dog4.png", BAD) and shows("out/wolf2.png", GOOD)


def test_validation_photos_alone(here, capsys):
    Path("runs/net/fit_config.yaml").write_text(
        yaml.safe_dump(
            {"data": {"class_path": "livecam.data.DogsVsWolves", "init_args": {"root": "pets", "val_fraction": 0.5}}}
        )
    )
    sets = DogsVsWolves("pets", val_fraction=0.5).sets
    parts = {part: [Path(photo.path).stem for photo in sets[part].photos] for part in ("train", "val")}
    for part, expected in parts.items():
        found = maps("pets", "--checkpoint", CKPT, "--split", part)
        assert names_of(found) == expected and len(expected) == 6
    assert "6 of 12 photos are in split val of the training's data." in capsys.readouterr().out
    picked = maps("pets", "--checkpoint", CKPT, "--split", "val", "--pick", "9")
    assert sorted(names_of(picked)) == sorted(parts["val"])
    args = ["maps", "--checkpoint", CKPT, "--split", "test", "--", "pets"]
    assert "have no split test: use train, val" in refused(capsys, *args, command=cli.explain)
    shutil.copytree("pets", "copy")
    args = ["maps", "copy", "--checkpoint", CKPT, "--split", "val"]
    assert "None of the 12 photos is among the 6 of split val" in refused(capsys, *args, command=cli.explain)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (None, "There is no "),
        ("data: [", "does not say what the training's data were"),
        ("seed: 0", "does not say what the training's data were"),
        ("data: {class_path: os.Evil, init_args: {}}", "were Evil, which divides no photos on disk"),
        ("data: {class_path: DogsVsWolves, init_args: {root: pets, rot: 1}}", "do not fit DogsVsWolves of this"),
        ("data: {class_path: DogsVsWolves, init_args: {root: gone}}", "does not exist"),
    ],
)
def test_parts_that_cannot_be_told(here, capsys, data, sentence):
    if data is not None:
        Path("runs/net/fit_config.yaml").write_text(data)
    args = ["maps", "pets", "--checkpoint", CKPT, "--split", "val"]
    assert sentence in refused(capsys, *args, command=cli.explain)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--pick", "0"], "pick"),
        (["--labels", "name"], "labels"),
        (["--labels", "folder", "--checkpoint", "shapes.ckpt"], "unet knows disc, triangle, cross, ring"),
        (["--pick", "2", "--checkpoint", CKPT, "shapes.ckpt"], "--pick is about the answers and the training of one"),
        (["--split", "val", "--model", "unet", "--weights", "shapes.pth"], "it takes a --checkpoint, not a --model"),
    ],
)
def test_wrong_command_lines(here, capsys, args, sentence):
    save_unet(Path("shapes.ckpt"), class_names=SHAPES)
    if "unet" in args:
        torch.save(build(build_model, "unet", 1000).state_dict(), "shapes.pth")
    args = args if {"--checkpoint", "--model"} & set(args) else [*args, "--checkpoint", CKPT]
    assert sentence in refused(capsys, "maps", "pets", *args, command=cli.explain)
