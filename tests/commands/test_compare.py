"""``explain.py compare``, in process: equal networks, an ablated twin, several runs of both."""

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.checkpoints import save_unet
from helpers.toys import build
from PIL import Image
from scored import CPU, PLANTED, images_asked, planted, rows_of
from test_cli import refused

from livecam import cli
from livecam.models import build_model

LOCALIZATION = ["--metrics", "localization"]


def run(name: str) -> str:
    return f"runs/{name}/checkpoints/last.ckpt"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A U-Net, a copy of it, and two runs of each of two kinds."""
    monkeypatch.chdir(tmp_path)
    save_unet(tmp_path / run("full"))
    Path(run("copy")).parent.mkdir(parents=True)
    shutil.copy(run("full"), run("copy"))
    for seed in (1, 2):
        save_unet(tmp_path / run(f"concat{seed}"), seed=seed)
        save_unet(tmp_path / run(f"drop{seed}"), seed=seed + 10, skips="drop")
    return tmp_path


def compare(*args: str, out: str = "comparison") -> dict[tuple[str, str, str], tuple]:
    """Figures by table, row and figure."""
    cli.explain(["compare", "--out", out, *PLANTED, *args])
    return figures_of(f"{out}/comparison.csv")


def figures_of(path: str) -> dict[tuple[str, str, str], tuple]:
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    found = {
        (row["table"], row["row"], row["figure"]): tuple(row[key] for key in ("value", "low", "high")) for row in rows
    }
    assert len(found) == len(rows)
    return found


def numbers(cells: tuple) -> list[float]:
    return [float(cell) for cell in cells]


def values(folder: str, method: str, column: str = "localization") -> np.ndarray:
    rows = rows_of(f"comparison/{folder}/scores.csv")
    return np.array([float(row[column]) for (_, name), row in rows.items() if name == method])


def student(found) -> list[float]:
    """Mean of two runs and its interval: the t quantile of one degree of freedom has a closed form."""
    quantile = math.tan(math.pi * 0.475)
    middle, error = np.mean(found), np.std(found, ddof=1) / math.sqrt(len(found))
    assert len(found) == 2 and quantile == pytest.approx(12.706, abs=1e-3)
    return [middle, middle - quantile * error, middle + quantile * error]


def test_equal_networks_differ_by_exactly_nothing(here):
    found = compare("--checkpoint", run("full"), run("copy"), "--metrics", "localization,pointing,sharpness")
    for words in ("localization", "pointing", "sharpness"):
        pair = f"{words}: paired differences", "Grad-CAM · unet (full) minus unet (copy)"
        assert numbers(found[*pair, f"difference in {words} [95 %]"]) == [0, 0, 0]
        assert found[*pair, "in accuracy"][0] == "0.0" and found[*pair, "remark"][0] == ""
        one, other = (found[words, f"Grad-CAM · unet ({name})", f"{words} [95 %]"] for name in ("full", "copy"))
        assert one == other
    scores = [Path("comparison", name, "scores.csv").read_bytes() for name in ("unet_full", "unet_copy")]
    assert scores[0] == scores[1]


def test_a_difference_is_the_mean_of_the_differences_of_images(here, capsys):
    found = compare("--checkpoint", run("full"), run("drop1"), *LOCALIZATION, "--methods", "gradcam,cam")
    noise = np.random.default_rng(0)
    for method, printed in (("gradcam", "Grad-CAM"), ("cam", "CAM")):
        one, other = values("unet", method), values("unet_no_skips", method)
        both = ~np.isnan(one) & ~np.isnan(other)
        apart = (one - other)[both]
        assert both.sum() > 3
        row = "localization: paired differences", f"{printed} · unet minus unet, no skips"
        value, low, high = numbers(found[*row, "difference in localization [95 %]"])
        assert value == pytest.approx(apart.mean(), abs=1e-9)
        means = apart[noise.integers(0, len(apart), (20000, len(apart)))].mean(1)
        assert (low, high) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.2 * means.std())
        for label, own in (("unet", one), ("unet, no skips", other)):
            mean = numbers(found["localization", f"{printed} · {label}", "localization [95 %]"])[0]
            assert mean == pytest.approx(np.nanmean(own))
            assert found["localization", f"{printed} · {label}", "n"][0] == str((~np.isnan(own)).sum())
    # What knows nothing of the network is there once.
    control = {row for _, row, _ in found if row.startswith("Centered Gaussian")}
    assert control == {"Centered Gaussian · any"}
    told = json.loads(Path("comparison/summary.json").read_text())
    (row,) = [row for row in told["tables"]["localization: paired differences"] if row["method"] == "CAM"]
    apart = found[
        "localization: paired differences", "CAM · unet minus unet, no skips", "difference in localization [95 %]"
    ]
    assert [row["difference in localization [95 %]"][end] for end in ("value", "low", "high")] == numbers(apart)
    told = told["networks"]
    assert list(told) == ["unet", "unet, no skips"]
    for label, folder in (("unet", "unet"), ("unet, no skips", "unet_no_skips")):
        rows = rows_of(f"comparison/{folder}/scores.csv")
        hits = [row["label"] == row["predicted"] for (_, method), row in rows.items() if method == "cam"]
        assert told[label]["accuracy"]["value"] == pytest.approx(np.mean(hits))
        assert numbers(found["localization", f"CAM · {label}", "accuracy"][:1]) == [pytest.approx(np.mean(hits))]
        line = told[label]["metrics"]["localization"]["cam"]
        assert line["figures"]["localization"]["value"] == pytest.approx(np.nanmean(values(folder, "cam")))
    assert "paired differences" in capsys.readouterr().out


def test_two_runs_of_two_kinds(here):
    names = ["concat1", "drop1", "concat2", "drop2"]
    found = compare("--checkpoint", *map(run, names), *LOCALIZATION, "--methods", "cam")
    folders = {name: f"unet_{'' if name.startswith('concat') else 'no_skips_'}{name}" for name in names}
    one, other = ([values(folders[f"{kind}{seed}"], "cam") for seed in (1, 2)] for kind in ("concat", "drop"))
    means = [[np.nanmean(own) for own in runs] for runs in (one, other)]
    table = "localization: means of 2 runs"
    for label, own in zip(("unet", "unet, no skips"), means):
        assert numbers(found[table, f"CAM · {label}", "localization [95 %]"]) == pytest.approx(student(own))
        kind = "drop" if "no skips" in label else "concat"
        counts = [(~np.isnan(values(folders[f"{kind}{seed}"], "cam"))).sum() for seed in (1, 2)]
        assert float(found[table, f"CAM · {label}", "n"][0]) == np.mean(counts)
    # The first run of a kind with the first of the other, whatever lies between them.
    apart = []
    for seed in (0, 1):
        row = "localization: paired differences", f"CAM · concat{seed + 1} minus drop{seed + 1}"
        apart.append(numbers(found[*row, "difference in localization [95 %]"])[0])
        assert apart[-1] == pytest.approx(np.nanmean(one[seed] - other[seed]))
    row = "localization: paired differences", "CAM · unet minus unet, no skips"
    assert numbers(found[*row, "difference in localization [95 %]"]) == pytest.approx(student(apart))
    alone = [row for table, row, figure in found if table == "localization: each run" and figure == "n"]
    assert alone == [
        *(f"CAM · {label}" for label in ("unet (concat1)", "unet (concat2)")),
        *(f"CAM · {label}" for label in ("unet, no skips (drop1)", "unet, no skips (drop2)")),
        "Centered Gaussian · any",
    ]
    # Kinds with unequal numbers of networks are no runs.
    three = compare("--checkpoint", *map(run, names[:3]), *LOCALIZATION, "--methods", "cam")
    pairs = {row for table, row, _ in three if table.endswith("paired differences")}
    assert pairs == {
        "CAM · unet (concat1) minus unet (concat2)",
        "CAM · unet (concat1) minus unet, no skips",
    }


def test_the_picture_shows_the_same_images_under_every_network(here):
    compare("--checkpoint", run("full"), run("drop1"), *LOCALIZATION, "--methods", "gradcam,cam", "--limit", "3")
    pictures = sorted(Path("comparison/pictures").iterdir())
    rows = rows_of("comparison/unet/scores.csv")
    assert {int(path.stem) for path in pictures} == {index for index, _ in rows} and len(pictures) == 3
    page = Path("comparison/index.html").read_text()
    for path in pictures:
        picture = np.asarray(Image.open(path))
        height, width = picture.shape[:2]
        # Two columns and two rows of maps of 160 px, and the image as large.
        assert height > 2 * 160 and width > 3 * 160
        assert f'src="pictures/{path.name}" width="{width}" height="{height}"' in page
        # The image itself is there, its pixels enlarged by five.
        image = planted()[int(path.stem)]["image"] * 0.25 + 0.5
        own = (image.permute(1, 2, 0).numpy() * 255).round().astype(int)
        corners = np.argwhere((np.abs(picture[:-160, :-160].astype(int) - own[0, 0]) <= 1).all(2))
        centers = 5 * np.arange(32) + 2
        apart = [np.abs(picture[y + centers][:, x + centers].astype(int) - own).mean() for y, x in corners]
        assert min(apart) < 8
        assert picture.std() > 30
    assert "unet: predicted" in page and "unet, no skips: predicted" in page


def test_a_method_that_does_not_fit_one_network(here, capsys, caplog):
    torch.save(build(build_model, "torchvision/squeezenet1_1", 4).state_dict(), "squeezenet.pth")
    named = ["--model", "torchvision/squeezenet1_1", "--weights", "squeezenet.pth", "--num_classes", "4"]
    both = ["--checkpoint", run("full"), *named, "--image_size", "48", *LOCALIZATION]
    found = compare(*both, "--methods", "gradcam,cam")
    assert caplog.text.count("'cam' failed and is left out") == 1
    rows = {row for table, row, _ in found if table == "localization"}
    assert rows == {
        "Grad-CAM · unet",
        "Grad-CAM · torchvision/squeezenet1_1",
        "CAM · unet",
        # Other sizes, other masks: the baseline is not the same.
        *(row for row in rows if row.startswith("Centered Gaussian")),
    }
    pairs = {row for table, row, _ in found if table.endswith("paired differences")}
    assert pairs == {"Grad-CAM · unet minus torchvision/squeezenet1_1"}
    told = refused(capsys, "compare", "--out", "none", *PLANTED, *both, "--methods", "cam", command=cli.explain)
    assert told.startswith("No method fits torchvision/squeezenet1_1: CAM needs a head of global average pooling")


def test_an_interrupted_comparison_goes_on(here):
    args = ["--checkpoint", run("full"), run("drop1"), *LOCALIZATION, "--methods", "cam"]
    whole = compare(*args)
    # The first network was done, the second had two images.
    folder = Path("comparison/unet_no_skips")
    lines = (folder / "scores.csv").read_text().splitlines(keepends=True)
    (folder / "rows.rank0.csv").write_text("".join(lines[:5]) + lines[5][:9])
    (folder / "scores.csv").unlink()
    Path("comparison/comparison.csv").unlink()
    with images_asked(planted()) as asked:
        again = compare(*args)
    assert set(asked) == set(range(2, 12))
    assert again.keys() == whole.keys()
    for key, cells in whole.items():
        # Other companions in a batch may change the last bits.
        for cell, other in zip(cells, again[key]):
            assert cell == other or float(cell) == pytest.approx(float(other), abs=1e-6), key


def test_networks_that_were_trained_on_other_images_are_not_paired(here, capsys):
    for name, change in (("full", {}), ("drop1", {"batch_size": 3, "train_length": 5}), ("drop2", {"seed": 4})):
        arguments = {"image_size": 32, "val_length": 4, "seed": 0, "batch_size": 8, "train_length": 16} | change
        data = {"class_path": "livecam.data.PlantedShapesData", "init_args": arguments}
        Path("runs", name, "fit_config.yaml").write_text(yaml.safe_dump({"data": data}))
    words = ["compare", *LOCALIZATION, "--methods", "cam", *CPU, "--checkpoint", run("full")]
    cli.explain([*words, run("drop1")])
    assert len(rows_of("comparison/unet/scores.csv")) == 8
    told = refused(capsys, *words, run("drop2"), "--out", "other", command=cli.explain)
    assert told == (
        "unet and unet, no skips were trained on other data (seed), so that their images cannot be paired: name the "
        "data of both by --data."
    )
    assert not Path("other").exists()
    cli.explain([*words, run("drop2"), "--out", "other", *PLANTED])


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--checkpoint", run("full")], "There is one network: compare takes two or more, and score takes one."),
        ([], "Say what to explain: either --checkpoint FILE, or --model NAME"),
        (["--checkpoint", run("full"), run("full")], "is given twice"),
        (["--checkpoint", run("full"), "none.ckpt"], "No checkpoint at none.ckpt"),
        (["--checkpoint", run("full"), run("copy"), "--metrics", "sharpnes"], "Did you mean sharpness?"),
    ],
)
def test_wrong_command_lines(here, capsys, args, sentence):
    assert sentence in refused(capsys, "compare", *PLANTED, *args, command=cli.explain)
    assert not Path("comparison").exists()


def test_a_metric_that_no_image_suits_says_so(here, capsys):
    Path("photos").mkdir()
    for index in range(2):
        Image.fromarray(np.full((40, 40, 3), 100 * index, np.uint8)).save(f"photos/{index}.png")
    Path("photos/annotations.json").write_text(json.dumps({f"{i}.png": {"label": i} for i in range(2)}))
    data = ["--data", "AnnotatedPhotos", "--data.root", "photos", "--data.num_workers", "0", *CPU]
    cli.explain(["compare", "--checkpoint", run("full"), run("drop1"), *LOCALIZATION, *data])
    assert "No image has what this metric compares with." in capsys.readouterr().out
