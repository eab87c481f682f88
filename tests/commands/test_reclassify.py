"""``explain.py reclassify``, in process: tables, files, and which photos it takes."""

import csv
import re
from itertools import product

import numpy as np
import pytest
import torch
from helpers.checkpoints import SHAPES, save_unet
from helpers.toys import Given, StagedNet, build
from PIL import Image

from livecam import cli
from livecam.core.normalization import Normalization
from livecam.evaluation.loaded_network import Network
from livecam.explain import explain

HALF = Normalization((0.5,) * 3, (0.25,) * 3)
NUMBERS = ("degenerate", "probability", "original", "kept", "top5", "rank", "ratio")
METHODS = ["gradcam", "gradual_gradcam"]
WAYS = ["--modes", "threshold,multiply", "--thresholds", "0.4", "--baselines", "mean,black"]


@pytest.fixture
def checkpoint(here):
    return save_unet(here / "net.ckpt", seed=3)


@pytest.fixture
def photos(here):
    """Six photos of random pixels in two folders, and a file that is none."""
    numbers = np.random.default_rng(0)
    for folder in "ab":
        (here / folder).mkdir()
        for number in range(3):
            pixels = numbers.integers(0, 255, (40, 60, 3)) * numbers.uniform(0.1, 1, 3)
            Image.fromarray(pixels.astype(np.uint8)).save(here / folder / f"{folder}{number}.png")
    (here / "broken.jpg").write_bytes(b"no picture")
    return [f"{folder}/{folder}{number}.png" for folder in "ab" for number in range(3)]


def run(*args: str, methods=METHODS) -> list[dict]:
    cli.explain(["reclassify", *args, "--methods", ",".join(methods), "--out", "out"])
    with open("out/reclassify.csv", newline="", encoding="utf-8") as file:
        return [{k: float(v) if k in NUMBERS else v for k, v in row.items()} for row in csv.DictReader(file)]


def refused(capsys, *args: str) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.explain(["reclassify", *args])
    assert stop.value.code == 2
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return told.removeprefix("error: ")


@pytest.fixture
def staged(monkeypatch):
    """A network whose resolution drops once, so that Gradual Extrapolation has something to do."""
    net = build(StagedNet, seed=1)
    with torch.no_grad():
        net.fc.weight.mul_(8)
    network = Network(net, "softmax", 4, SHAPES, 24, "stretch", HALF, "staged", "memory")
    monkeypatch.setattr("livecam.commands.reclassify.load_network", lambda *given: network)
    return network


def test_numbers_are_those_of_a_computation_by_hand(here, staged, photos):
    rows = run(*photos, *WAYS, "--batch_size", "4")
    keys = {(row["photo"], row["method"], row["mode"], row["threshold"], row["baseline"]): row for row in rows}
    assert len(rows) == len(keys) == 6 * (1 + 2 * 4)
    net, images = staged.model, torch.stack([staged.prepare(Image.open(photo)) for photo in photos])
    pixels, found = images * 0.25 + 0.5, explain(staged.model, images, METHODS)
    with torch.no_grad():
        clean = net(images).softmax(1)
        targets = clean.argmax(1).tolist()
        for method, mode, baseline in product(METHODS, ("multiply", "threshold"), ("black", "mean")):
            maps = found[method].map[:, None]
            weight = maps if mode == "multiply" else (maps >= 0.4).float()
            plain = torch.zeros(3, 1, 1) if baseline == "black" else pixels.mean((2, 3), keepdim=True)
            masked = net((pixels * weight + plain * (1 - weight) - 0.5) / 0.25).softmax(1)
            order = masked.sort(dim=1, descending=True)
            for i, (photo, target) in enumerate(zip(photos, targets)):
                row = keys[photo, method, mode, "" if mode == "multiply" else "0.4", baseline]
                own, original = float(masked[i, target]), float(clean[i, target])
                rank = 1 + order.indices[i].tolist().index(target)
                assert row["target"] == SHAPES[target]
                assert [row["probability"], row["original"]] == pytest.approx([own, original], abs=1e-5)
                assert row["ratio"] == pytest.approx(own / original, rel=1e-4)
                assert [row["kept"], row["top5"], row["rank"]] == [rank == 1, 1, rank]
                assert [row[f"class_{k}"] for k in range(1, 5)] == [SHAPES[k] for k in order.indices[i]]
                told = [float(row[f"probability_{k}"]) for k in range(1, 5)]
                assert told == pytest.approx(order.values[i].tolist(), abs=1e-5)
    for photo in photos:
        row = keys[photo, "original", "", "", ""]
        assert (row["probability"], row["kept"], row["rank"], row["ratio"]) == (row["original"], 1, 1, 1)


def test_files_and_tables(here, checkpoint, photos, capsys):
    rows = run(*photos, "broken.jpg", "--checkpoint", checkpoint, *WAYS)
    told = capsys.readouterr()
    assert "6 photos reclassified" in told.out and "broken.jpg" in told.err
    # Full tables for the photos and for the paper's way, whatever the order of the options.
    assert [line.strip() for line in told.out.splitlines() if ": " in line and "," in line][:2] == [
        "Grad-CAM: multiply, black",
        "Gradual Grad-CAM: multiply, black",
    ]
    for way in ("multiply, mean", "threshold 0.4, black", "threshold 0.4, mean"):
        assert told.out.count(way) == 1
    assert max(map(len, told.out.splitlines())) <= 100
    written = {file.name for file in (here / "out").iterdir()}
    pictures = {f"{folder}{number}.png" for folder in "ab" for number in range(3)}
    assert written == pictures | {"index.html", "reclassify.csv", "reclassify.md"}
    assert all(np.asarray(Image.open(here / "out" / name)).std() > 20 for name in pictures)
    tables = (here / "out" / "reclassify.md").read_text()
    assert tables.count("## ") == 1 + 1 + 2 * 4 and "\x1b" not in tables
    (line,) = {line for line in tables.splitlines() if line.startswith("| nothing")}
    originals = [row["original"] for row in rows if row["method"] == "original"]
    assert f" {np.mean(originals):.2f} [" in line


def test_the_summary_compares_gradual_extrapolation_with_its_base_photo_by_photo(here, staged, photos):
    rows = run(*photos, "--modes", "multiply", "--baselines", "white", "--target", "0")
    base, sharp = (np.array([row["probability"] for row in rows if row["method"] == method]) for method in METHODS)
    gains = sharp - base
    assert gains.mean() > 0.05 and gains.std() > 0.02
    text = (here / "out" / "reclassify.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("|   Gradual Grad-CAM")]
    _, _, probability, *_, gain, _ = line.split("|")
    mean, bounds = gain.strip(" ]").split(" [")
    low, high = map(float, bounds.split(","))
    assert float(probability.split("[")[0]) == pytest.approx(sharp.mean(), abs=0.0051)
    assert float(mean) == pytest.approx(gains.mean(), abs=0.0051) and mean[0] == "+"
    # Of six photos the bootstrap's law is known well enough by drawing them with another generator.
    drawn = np.random.default_rng(0).choice(gains, (20000, 6)).mean(1)
    assert [low, high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]).tolist(), abs=0.01)


def test_long_names_break_between_words_and_nothing_is_cut(here, staged, photos, capsys):
    staged.class_names = ["soft-coated wheaten terrier", "Staffordshire bullterrier", "Bouvier des Flandres", "borzoi"]
    long = "ILSVRC2012_val_00000040_and_more"
    (here / photos[0]).rename(f"{long}.png")
    run(f"{long}.png", "--modes", "multiply", "--baselines", "black", methods=["gradcam"])
    told = capsys.readouterr().out
    table = told[told.index("Grad-CAM: multiply") : told.index("Probability of the target")]
    assert len(re.findall(r"\d\.\d\d\b", table)) == 4
    assert set(" ".join(staged.class_names).split()) <= set(table.split())
    assert long[:23] in table and long[23:] in table
    # No borders of the terminal's, one line per photo.
    rows = [line for line in (here / "out" / "reclassify.md").read_text().splitlines() if line.startswith(f"|{long} |")]
    assert len(rows) == 2 and all(line.count("|") == 6 for line in rows)


def test_a_method_without_its_base_has_nothing_to_be_compared_with(here, checkpoint, photos):
    run(
        photos[0],
        "--checkpoint",
        checkpoint,
        "--modes",
        "multiply",
        "--baselines",
        "black",
        methods=["gradual_gradcam"],
    )
    text = (here / "out" / "reclassify.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("|   Grad")]
    assert line.split("|")[-2].strip() == ""


def test_one_class_for_all(here, checkpoint, photos):
    rows = run(*photos, "--checkpoint", checkpoint, "--target", "ring", "--modes", "multiply", "--baselines", "black")
    assert {row["target"] for row in rows} == {"ring"}
    assert all(row["kept"] == (row["class_1"] == "ring") for row in rows)


@pytest.fixture
def colors(here, monkeypatch):
    """A network that knows colors, and photos: four red and two blue ones in a, two green and a blue one in b."""
    network = Network(
        Given(10 * torch.eye(3)).eval(), "softmax", 3, ["red", "green", "blue"], 24, "stretch", HALF, "colors", "hand"
    )
    monkeypatch.setattr("livecam.commands.reclassify.load_network", lambda *given: network)
    for name in ("a/0red", "a/1red", "a/2blue", "a/3red", "a/4red", "a/5blue", "b/0green", "b/1blue", "b/2green"):
        pixels = np.zeros((24, 24, 3), np.uint8)
        pixels[4:20, 4:20, ["red", "green", "blue"].index(name[3:])] = 250
        (here / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(here / f"{name}.png")


def taken(*args: str) -> list[str]:
    rows = run(*args, "--modes", "multiply", "--baselines", "black", methods=["gradcam"])
    return [row["photo"].removesuffix(".png") for row in rows if row["method"] == "original"]


@pytest.mark.parametrize(
    ("only", "kept"),
    [
        ("green", ["b/0green", "b/2green"]),
        ("2, green", ["a/2blue", "a/5blue", "b/0green", "b/1blue", "b/2green"]),
        ("1-2", ["a/2blue", "a/5blue", "b/0green", "b/1blue", "b/2green"]),
        ("0-0", ["a/0red", "a/1red", "a/3red", "a/4red"]),
    ],
)
def test_only_photos_of_some_predictions(colors, capsys, only, kept):
    assert taken("a", "b", "--only", only, "--batch_size", "4") == kept
    told = " ".join(capsys.readouterr().out.split())
    assert f"chosen among {len(kept)}, {9 - len(kept)} predicted otherwise left out" in told


def test_a_limit_is_shared_by_the_paths(colors):
    four = taken("a", "b", "--limit", "4")
    assert [name[0] for name in four] == ["a", "a", "b", "b"] and four == taken("a", "b", "--limit", "4")
    # Where one path has no more, others baseline up.
    eight = taken("a", "b", "--limit", "8")
    assert [name[0] for name in eight] == 5 * ["a"] + 3 * ["b"]
    assert taken("a", "b/1blue.png", "--only", "blue", "--limit", "2")[1] == "b/1blue"
    assert len(taken("a", "a/0red.png", "b", "--limit", "50")) == 9


def test_black_photos_of_a_map_without_contrast_are_counted(colors, here, capsys):
    Image.new("RGB", (24, 24)).save(here / "black.png")
    rows = run("black.png", "--modes", "multiply", "--baselines", "black", methods=["gradcam"])
    assert [row["degenerate"] for row in rows] == [0, 1]
    # What is left is black too: a third each.
    assert rows[1]["probability"] == pytest.approx(1 / 3) and rows[1]["class_1"] == "red"
    assert "1 map without contrast" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--baselines", "black,blak"], "Did you mean black?"),
        (["--modes", "multply"], "Did you mean multiply?"),
        (["--thresholds", "0.3,0"], "in (0, 1], got 0.0"),
        (["--thresholds", "1.5"], "in (0, 1], got 1.5"),
        (["--thresholds", "half"], "thresholds are numbers in (0, 1], such as 0.3,0.5, got half"),
        (["--modes", ","], "Nothing to compare"),
        (["--methods", "gradcm"], "Did you mean gradcam"),
        (["--methods", "gradcam,gradcam"], "Two explainers are called 'gradcam'"),
        (["--only", "rign"], "Did you mean ring"),
        (["--only", "1-4"], "Class 4 is out of range"),
        (["--only", "2-1"], "None of 6 photos is predicted as one of the classes"),
        (["--target", "rign"], "Did you mean ring"),
        (["--limit", "0"], "limit is a whole number from 1, got 0"),
        (["--batch_size", "0"], "batch_size is a whole number from 1, got 0"),
        (["--thresholdz", "1"], "Did you mean --thresholds"),
    ],
)
def test_wrong_choices(here, checkpoint, photos, capsys, args, sentence):
    assert sentence in refused(capsys, *photos, "--checkpoint", checkpoint, *args)
    assert not list(here.rglob("reclassify.*"))


def test_photos_that_cannot_be_read(here, checkpoint, photos, capsys):
    assert "None of the 1 photos could be read" in refused(capsys, "broken.jpg", "--checkpoint", checkpoint)
