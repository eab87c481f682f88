"""``explain.py score`` on multi-label images: a row for each category, as the pointing game of the AOP paper counts."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.checkpoints import save_unet
from helpers.coco_tree import plant, polygon
from scored import CHECKPOINT, CPU

from livecam import cli
from livecam.data import Coco
from livecam.evaluation.kept_maps import kept_maps
from livecam.explain import explain
from livecam.training.checkpoint import load_classifier

PERSON, DOG, BRUSH = 1, 18, 90
REGION = {PERSON: [polygon(0, 0, 15, 12)], DOG: [polygon(12, 4, 30, 20)], BRUSH: [polygon(3, 3, 9, 18)]}
THERE = {"a.jpg": [PERSON, DOG], "b.jpg": [PERSON], "c.jpg": [PERSON, DOG, BRUSH], "d.jpg": [], "e.jpg": [DOG]}
NAMES = ["person", "dog", "toothbrush"]
DATA = ["--data", "Coco", "--data.root", "coco", "--data.num_workers", "0", *CPU]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Five images in coco/, of which the fourth shows nothing, and a network sure of some categories only."""
    monkeypatch.chdir(tmp_path)
    plant(
        tmp_path / "coco", [*THERE], [(name, number, REGION[number]) for name, own in THERE.items() for number in own]
    )
    save_unet(Path(CHECKPOINT), class_names=NAMES, head="multilabel")
    content = torch.load(CHECKPOINT, weights_only=True)
    network = load_classifier(CHECKPOINT)
    with torch.no_grad():
        middle = network(torch.stack([sample["image"] for sample in samples()])).mean(0)
    content["state_dict"]["net.head.bias"] -= middle
    torch.save(content, CHECKPOINT)
    return tmp_path


def samples():
    settings = {"image_size": 32, "mean": (0.5,) * 3, "std": (0.25,) * 3, "resize": "stretch"}
    dataset = Coco("coco", num_workers=0, **settings).sets["val"]
    return [dataset[index] for index in range(len(dataset))]


def score(*words: str, out: str = "scores") -> list[dict[str, str]]:
    cli.explain(["score", "--checkpoint", CHECKPOINT, "--out", out, *DATA, *words])
    with open(f"{out}/scores.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_every_category_is_a_row(here, capsys):
    rows = score("--methods", "gradcam", "--metrics", "pointing(ties='first'),localization")
    own = [row for row in rows if row["method"] == "gradcam"]
    assert [(int(row["index"]), int(row["target"])) for row in own] == [
        (0, 0),
        (0, 1),
        (1, 0),
        *((2, n) for n in range(3)),
        (4, 1),
    ]
    assert all(row["label"] == row["target"] and row["predicted"] == "" for row in own)
    assert [row["method"] for row in rows if row["index"] == "3"] == [""], "an image without anything is done, too"
    network, seen = load_classifier(CHECKPOINT), samples()
    for row in own:
        sample = seen[int(row["index"])]
        found = explain(network, sample["image"][None], ["gradcam"], int(row["target"]), head="multilabel")["gradcam"]
        mask = sample["masks"][sample["categories"].tolist().index(int(row["target"]))]
        point = divmod(int(found.map[0].argmax()), 32)
        assert float(row["pointing"]) == float(mask[point] and found.map.max() > 0)
        assert float(row["probability"]) == pytest.approx(
            network(sample["image"][None]).sigmoid()[0, int(row["target"])].item()
        )
    said = capsys.readouterr().out
    assert (
        "5 images of 5" in said
        and "7 pairs of image and category explained, of 3 categories" in said
        and "accuracy" not in said
    )
    summary = json.loads(Path("scores/summary.json").read_text())
    assert summary["metrics"]["pointing"]["gradcam"]["n"] == 7 and summary["accuracy"] is None
    # Means within categories first.
    hits = {}
    for row in own:
        hits.setdefault(row["target"], []).append(float(row["pointing"]))
    mean = np.mean([np.mean(values) for values in hits.values()])
    assert summary["metrics"]["pointing"]["gradcam"]["figures"]["pointing"]["value"] == pytest.approx(mean)
    assert len(list(Path("scores/pictures").glob("*.png"))) == 4


def test_only_what_the_network_sees_is_explained(here, capsys):
    network = load_classifier(CHECKPOINT)
    sure = {}
    for index, sample in enumerate(samples()):
        probabilities = network(sample["image"][None]).sigmoid()[0].detach()
        sure |= {(index, int(label)): float(probabilities[label]) for label in sample["categories"]}
    kept = {pair for pair, probability in sure.items() if probability >= 0.5}
    assert 0 < len(kept) < len(sure) == 7
    rows = score("--methods", "gradcam,cam", "--metrics", "pointing", "--min_probability", "0.5")
    assert {(int(row["index"]), int(row["target"])) for row in rows if row["method"] == "cam"} == kept
    left = {
        (int(row["index"]), int(row["label"])): float(row["probability"])
        for row in rows
        if row["method"] == "" and row["label"]
    }
    assert left == {pair: pytest.approx(sure[pair]) for pair in sure.keys() - kept}
    told = f"{len(kept)} pairs of image and category explained, of {len({c for _, c in kept})} categories"
    assert f"{told} · {7 - len(kept)} below probability 0.5" in capsys.readouterr().out


def test_nothing_that_the_network_sees(here, capsys):
    rows = score("--methods", "gradcam", "--metrics", "pointing", "--min_probability", "1")
    assert {row["method"] for row in rows} == {""}
    said = capsys.readouterr().out
    assert "7 below probability 1 · nothing was explained: give a lower --min_probability" in said
    assert "does not fit" not in said and "No image has" not in said
    told = json.loads(Path("scores/summary.json").read_text())
    assert (told["images"], told["explained"], told["below_min_probability"]) == (5, 0, 7)


def test_predicted_classes_have_a_least_probability_too(here, capsys):
    network = load_classifier(CHECKPOINT)
    most = [network(sample["image"][None]).sigmoid().max().item() for sample in samples()]
    least = sorted(most)[2] - 1e-6
    rows = score("--methods", "cam", "--metrics", "sharpness", "--target", "predicted", "--min_probability", str(least))
    assert [int(row["index"]) for row in rows if row["method"] == "cam"] == [i for i in range(5) if most[i] >= least]
    assert "3 images explained · 2 below probability" in capsys.readouterr().out


@pytest.mark.parametrize("size", ["1", "2", "8"])
def test_pictures_show_the_first_category_whatever_the_batches(here, size):
    rows = score("--methods", "gradcam", "--metrics", "pointing", "--min_probability", "0.5", "--batch_size", size)
    first = {}
    for row in rows:
        if row["method"]:
            first.setdefault(int(row["index"]), int(row["target"]))
    numbers = [int(path.stem) for path in Path("scores/maps").iterdir()]
    assert len(first) >= 2
    assert {number: int(kept_maps(Path("scores"), number)["gradcam"].target) for number in numbers} == first


def test_it_goes_on_after_a_kill_and_from_fewer_images(here):
    words = ["--methods", "gradcam", "--metrics", "pointing,localization", "--batch_size", "2"]
    words += ["--min_probability", "0.5"]
    whole = score(*words)
    score(*words, "--limit", "3", out="part")
    assert score(*words, out="part") == whole
    # A kill in the middle of an image's rows: it is done again.
    shutil.copytree("scores", "cut")
    lines = Path("cut/scores.csv").read_text().splitlines(keepends=True)
    third = next(number for number, line in enumerate(lines) if line.startswith("2,"))
    Path("cut/scores.csv").unlink()
    Path("cut/rows.rank0.csv").write_text("".join(lines[: third + 2]))
    assert score(*words, out="cut") == whole


def test_predicted_classes_are_one_for_each_image(here, capsys):
    rows = score("--methods", "gradcam", "--metrics", "localization", "--target", "predicted")
    own = [row for row in rows if row["method"] == "gradcam"]
    assert [row["index"] for row in own] == list("01234") and all(row["label"] == "" for row in own)
    for row, sample in zip(own, samples()):
        there = int(row["target"]) in sample["categories"].tolist()
        assert (row["localization"] != "") == there, "scored where the category is in the image"
    assert "pairs of image" not in capsys.readouterr().out


def test_two_networks_are_paired_by_category(here, capsys):
    other = save_unet(
        Path("runs/other/checkpoints/last.ckpt"), seed=5, class_names=NAMES, head="multilabel", skips="drop"
    )
    words = ["--methods", "gradcam", "--metrics", "pointing,localization", "--out", "both"]
    cli.explain(["compare", "--checkpoint", CHECKPOINT, other, *DATA, *words])
    tables = json.loads(Path("both/summary.json").read_text())["tables"]
    first, second = (
        {
            (row["index"], row["target"]): row
            for row in csv.DictReader(path.open(newline=""))
            if row["method"] == "gradcam"
        }
        for path in (Path("both/unet/scores.csv"), Path("both/unet_no_skips/scores.csv"))
    )
    assert first.keys() == second.keys() and len(first) == 7

    def rate(rows):
        hits = {}
        for (_, target), row in rows.items():
            hits.setdefault(target, []).append(float(row["pointing"]))
        return np.mean([np.mean(values) for values in hits.values()])

    apart = [float(row["localization"]) - float(second[pair]["localization"]) for pair, row in first.items()]
    expected = {"pointing": rate(first) - rate(second), "localization": np.nanmean(apart)}
    assert abs(expected["localization"]) > 0.01
    for metric, value in expected.items():
        (row,) = tables[f"{metric}: paired differences"]
        assert row[f"difference in {metric} [95 %]"]["value"] == pytest.approx(value)
        assert row["in accuracy"] == "-", "several right answers have no accuracy"


def test_probabilities_out_of_range(here, capsys):
    with pytest.raises(SystemExit):
        score("--min_probability", "50")
    assert "min_probability is a number from 0 to 1, got 50" in capsys.readouterr().err
