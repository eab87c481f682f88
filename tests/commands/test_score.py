"""``explain.py score``, in process, on a tiny untrained U-Net and planted shapes."""

import csv
import json
import re
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from checkpoints import save_unet
from PIL import Image
from test_cli import refused
from torchvision.transforms import v2
from toys import build

from livecam import cli
from livecam.checkpoint import load_classifier
from livecam.classifier import Classifier
from livecam.data import PlantedShapesData
from livecam.data.planted import PlantedShapes
from livecam.explain import explain
from livecam.models import build_model

CHECKPOINT = "runs/full/checkpoints/last.ckpt"
CPU = ["--trainer.accelerator", "cpu"]
PLANTED = ["--data", "PlantedShapesData", "--data.image_size", "32", "--data.val_length", "12", *CPU]
LOCALIZATION = ["--metrics", "localization"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder with one checkpoint in it."""
    monkeypatch.chdir(tmp_path)
    save_unet(tmp_path / CHECKPOINT)
    return tmp_path


def rows_of(path: str | Path) -> dict[tuple[int, str], dict[str, str]]:
    """Rows of a scores.csv by image and method; none may be there twice."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(int(row["index"]), row["method"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def score(*args: str, out: str = "scores") -> dict[tuple[int, str], dict[str, str]]:
    cli.explain(["score", "--checkpoint", CHECKPOINT, "--out", out, *args])
    return rows_of(f"{out}/scores.csv")


def summary(out: str = "scores") -> dict:
    def no_constant(word: str):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(Path(out, "summary.json").read_text(), parse_constant=no_constant)


def planted(length: int = 12) -> PlantedShapes:
    """The validation images, as model input."""
    return PlantedShapes(length, 4, 32, "val", transform=v2.Normalize([0.5] * 3, [0.25] * 3))


@contextmanager
def images_asked(known: PlantedShapes):
    """Collects, for every pass of a whole classifier, which of the known images it was shown (None for any other)."""
    asked = []
    sums = [float(known[index]["image"].double().sum()) for index in range(len(known))]

    def look(module, arguments):
        if isinstance(module, Classifier):
            for image in arguments[0]:
                near = [index for index, total in enumerate(sums) if abs(total - float(image.double().sum())) < 1e-6]
                asked.append(near[0] if near else None)

    hook = torch.nn.modules.module.register_module_forward_pre_hook(look)
    try:
        yield asked
    finally:
        hook.remove()


def by_hand(methods: list[str]) -> dict[tuple[int, str], dict[str, float]]:
    """Localization, energy and pointing of every image, by plain sums over the maps."""
    data = planted()
    samples = [data[index] for index in range(len(data))]
    images, labels = torch.stack([s["image"] for s in samples]), torch.tensor([s["label"] for s in samples])
    found = explain(load_classifier(CHECKPOINT), images, methods, labels, head="softmax")
    expected = {}
    for name, explanation in found.items():
        for index, sample in enumerate(samples):
            inside = sample["mask"].numpy()
            energy = explanation.energy[index].double().numpy()
            shown = explanation.map[index].numpy()
            total, shifted, top = energy.sum(), energy - energy.min(), shown == shown.max()
            # A map without energy has no score, one that is uniform scores chance.
            share = energy[inside].sum() / total if total else np.nan
            expected[index, name] = {
                "localization": share,
                "localization_chance": inside.mean(),
                "localization_minmax": shifted[inside].sum() / shifted.sum() if shifted.sum() else inside.mean(),
                "energy_in_mask": share,
                "energy_in_mask_small": share if inside.mean() < 0.25 else np.nan,
                "pointing": (top & inside).sum() / top.sum() if shown.max() > 0 else 0,
                "target": int(labels[index]),
                "predicted": int(explanation.predicted[index]),
                "probability": float(explanation.probability[index]),
                "degenerate": int(explanation.degenerate[index]),
            }
    return expected


def test_every_value_and_mean_is_that_of_plain_sums(here, capsys):
    words = "gradcam,cam,centred_gaussian"
    rows = score(*PLANTED, "--methods", "gradcam,cam", "--metrics", "localization,energy_in_mask,pointing")
    expected = by_hand(words.split(","))
    assert rows.keys() == expected.keys()
    for key, row in rows.items():
        assert (row["label"], row["of"], row["file"]) == (str(key[0] % 4), "3", "")
        for column, value in expected[key].items():
            assert float(row[column]) == pytest.approx(value, abs=1e-6, nan_ok=True), (key, column)

    told = summary()
    assert (told["images"], told["unreadable"], told["target"]) == (12, 0, "label")
    hits = [row["label"] == row["predicted"] for row in rows.values()]
    assert told["accuracy"]["value"] == pytest.approx(np.mean(hits))
    for method in words.split(","):
        mine = [row for (_, name), row in expected.items() if name == method]
        scores = np.array([row["localization"] for row in mine])
        known = ~np.isnan(scores)
        line = told["metrics"]["localization"][method]
        assert (line["n"], line["undefined"]) == (known.sum(), (~known).sum())
        assert line["degenerate"] == sum(row["degenerate"] for row in mine)
        chance = np.array([row["localization_chance"] for row in mine])[known].mean()
        figures = {name: figure["value"] for name, figure in line["figures"].items()}
        assert figures["localization"] == pytest.approx(scores[known].mean())
        assert figures["chance"] == pytest.approx(chance)
        assert figures["lift"] == pytest.approx(scores[known].mean() / chance)
        # Means of the categories first; all four have three images.
        hits = [[row["pointing"] for row in mine if row["target"] == category] for category in range(4)]
        pointing = told["metrics"]["pointing"][method]
        assert pointing["n"] == 12 and pointing["figures"]["pointing"]["value"] == pytest.approx(np.mean(hits))
        small = np.array([row["energy_in_mask_small"] for row in mine])
        assert told["metrics"]["energy_in_mask"][method]["figures"]["small"]["value"] == pytest.approx(
            np.nanmean(small)
        )

    # The table has the best method first, and the map that knows nothing among them.
    table = capsys.readouterr().out.split("\nlocalization ")[1].split("\nenergy in mask")[0]
    printed = {"gradcam": "Grad-CAM", "cam": "CAM", "centred_gaussian": "Centred Gaussian"}
    means = {name: told["metrics"]["localization"][name]["figures"]["localization"]["value"] for name in printed}
    ranked = [name for name in re.findall(r"^ ?(Grad-CAM|CAM|Centred Gaussian) +\d", table, re.M)]
    assert [means[{p: n for n, p in printed.items()}[name]] for name in ranked] == sorted(means.values(), reverse=True)
    assert list(told["metrics"]["localization"]) == sorted(means, key=means.get, reverse=True)


def test_the_interval_of_a_mean_is_about_that_of_a_bootstrap_of_our_own(here):
    rows = score(*PLANTED, "--data.val_length", "60", "--methods", "cam", *LOCALIZATION)
    values = np.array([float(row["localization"]) for (_, method), row in rows.items() if method == "centred_gaussian"])
    noise = np.random.default_rng(0)
    means = values[noise.integers(0, 60, (20000, 60))].mean(1)
    figure = summary()["metrics"]["localization"]["centred_gaussian"]["figures"]["localization"]
    width = np.subtract(*np.percentile(means, [97.5, 2.5]))
    assert figure["low"] == pytest.approx(np.percentile(means, 2.5), abs=0.07 * width)
    assert figure["high"] == pytest.approx(np.percentile(means, 97.5), abs=0.07 * width)
    assert width == pytest.approx(2 * 1.96 * values.std() / 60**0.5, rel=0.1)


def test_curves_begin_and_end_with_the_image(here):
    rows = score(*PLANTED, "--metrics", "insertion_deletion(step=256, curves=True)", "--limit", "4")
    model, data = load_classifier(CHECKPOINT), planted()
    for (index, _), row in rows.items():
        sample = data[index]
        with torch.no_grad():
            whole = float(model(sample["image"][None]).softmax(1)[0, sample["label"]])
        for end in ("deletion_at_00", "insertion_at_100"):
            assert float(row[f"insertion_deletion_{end}"]) == pytest.approx(whole, abs=1e-6)
        ends = [float(row[f"insertion_deletion_{end}"]) for end in ("deletion_at_100", "insertion_at_00")]
        assert ends[0] == pytest.approx(ends[1], abs=1e-6)
        both = float(row["insertion_deletion_insertion"]) - float(row["insertion_deletion_deletion"])
        assert float(row["insertion_deletion"]) == pytest.approx(both, abs=1e-9)
    page = Path("scores/index.html").read_text()
    assert page.count("<polyline ") == 4 and "insertion deletion: deletion" in page


def test_the_predicted_class_is_explained_on_request(here):
    rows = score(*PLANTED, "--methods", "cam", *LOCALIZATION, "--target", "predicted")
    assert all(row["target"] == row["predicted"] for row in rows.values())
    assert any(row["target"] != row["label"] for row in rows.values())
    assert summary()["target"] == "predicted"


def test_methods_with_options_and_the_test_part(here, capsys):
    words = "occlusion(size=8, stride=8),gradual_gradcam(q='l2')"
    rows = score(*PLANTED, "--methods", words, *LOCALIZATION, "--part", "test", "--data.val_length", "3")
    assert {method for _, method in rows} == {"occlusion", "gradual_gradcam", "centred_gaussian"}
    data = PlantedShapesData(image_size=32, val_length=3).sets["test"]
    for index in range(3):
        chance = float(data[index]["mask"].double().mean())
        assert float(rows[index, "occlusion"]["localization_chance"]) == pytest.approx(chance, abs=1e-12)
    assert "Occlusion" in capsys.readouterr().out
    assert "Occlusion(name='occlusion', size=8, stride=8" in Path("scores/settings.json").read_text()


def test_data_come_from_the_run_folder(here, capsys):
    told = refused(capsys, "score", "--checkpoint", CHECKPOINT, command=cli.explain)
    assert "fit_config.yaml, which tells what data the network was trained on: name some by --data" in told
    data = {"class_path": "livecam.data.PlantedShapesData", "init_args": {"val_length": 5, "image_size": 64}}
    config = here / "runs" / "full" / "fit_config.yaml"
    config.write_text(yaml.safe_dump({"data": data}))
    rows = score("--methods", "cam", *LOCALIZATION, *CPU)
    assert {index for index, _ in rows} == set(range(5))
    # At the size that the network reads, whatever the file says.
    expected = float(planted(5)[2]["mask"].double().mean())
    assert float(rows[2, "cam"]["localization_chance"]) == pytest.approx(expected)

    for content in ("[", "{}", "data: 3", yaml.safe_dump({"data": {"class_path": "os.path", "init_args": {}}})):
        config.write_text(content)
        told = refused(capsys, "score", "--checkpoint", CHECKPOINT, "--out", "other", command=cli.explain)
        assert "by --data" in told and "\n" not in told


def test_a_greater_limit_goes_on(here):
    few = score(*PLANTED, "--methods", "cam", *LOCALIZATION, "--limit", "4")
    with images_asked(planted()) as asked:
        more = score(*PLANTED, "--methods", "cam", *LOCALIZATION, "--limit", "7")
    first, second = ({index for index, _ in rows} for rows in (few, more))
    assert len(first) == 4 and len(second) == 7 and first < second
    assert set(asked) == second - first
    assert all(more[key] == row for key, row in few.items())
    assert summary()["images"] == 7
    # Fewer again: nothing is lost, and only those count.
    assert score(*PLANTED, "--methods", "cam", *LOCALIZATION, "--limit", "4") == more
    assert summary()["images"] == summary()["metrics"]["localization"]["centred_gaussian"]["n"] == 4
    assert {index for index, _ in score(*PLANTED, "--methods", "cam", *LOCALIZATION, "--limit", "99")} == set(range(12))


def test_an_interrupted_run_explains_only_what_is_missing(here):
    args = [*PLANTED, "--methods", "gradcam,cam", "--metrics", "localization,pointing", "--batch_size", "4"]
    whole = score(*args, out="whole")
    score(*args)
    figures = summary()
    lines = Path("scores/scores.csv").read_text().splitlines(keepends=True)
    of = defaultdict(list)
    for line in lines[1:]:
        of[int(line.split(",")[0])].append(line)
    # 0, 3 and 5 are whole, 7 lacks a method, and the last cell of 8 is cut within its digits.
    left = [lines[0], *of[0], *of[5], *of[3], *of[7][:2], *of[8][:2], of[8][2][:-3]]
    Path("scores/rows.rank0.csv").write_text("".join(left))
    for name in ("scores.csv", "summary.json", "index.html"):
        Path("scores", name).unlink()
    with images_asked(planted()) as asked:
        again = score(*args)
    assert set(asked) == set(range(12)) - {0, 3, 5}
    assert not list(Path("scores").glob("rows.*")) and [*again] == [*whole]
    assert {key: again[key] for key in again if key[0] in (0, 3, 5)} == {
        key: whole[key] for key in whole if key[0] in (0, 3, 5)
    }
    for key, row in whole.items():
        # Other companions in a batch may change the last bits.
        for column, cell in row.items():
            same = cell == again[key][column]
            assert same or float(again[key][column]) == pytest.approx(float(cell), abs=1e-6), (key, column)
    assert summary()["metrics"]["localization"]["cam"]["n"] == figures["metrics"]["localization"]["cam"]["n"]


def test_a_finished_run_asks_the_network_nothing(here):
    first = score(*PLANTED, *LOCALIZATION)
    page = Path("scores/index.html").read_text()
    pictures = {path.name: path.read_bytes() for path in Path("scores/pictures").iterdir()}
    with images_asked(planted()) as asked:
        assert score(*PLANTED, *LOCALIZATION) == first
    assert asked == []
    assert Path("scores/index.html").read_text() == page
    assert pictures and pictures == {path.name: path.read_bytes() for path in Path("scores/pictures").iterdir()}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (["--methods", "cam"], "methods"),
        (["--metrics", "localization,pointing"], "metrics"),
        (["--target", "predicted"], "target"),
        (["--part", "test"], "part"),
        (["--data.seed", "1"], "data"),
        (["--checkpoint", "other.ckpt"], "weights"),
    ],
)
def test_scores_of_other_settings_are_left_alone(here, capsys, change, word):
    args = ["score", "--checkpoint", CHECKPOINT, *PLANTED, *LOCALIZATION, "--limit", "2"]
    cli.explain(args)
    before = {path: path.read_bytes() for path in Path("scores").rglob("*") if path.is_file()}
    save_unet(here / "other.ckpt", seed=1)
    told = refused(capsys, *args, *change, command=cli.explain)
    assert re.fullmatch(
        rf"scores holds scores of other settings \(.*{word}.*\): choose another --out, or remove the folder\.", told
    )
    assert before == {path: path.read_bytes() for path in Path("scores").rglob("*") if path.is_file()}


def test_another_input_size_of_a_named_network_is_another_setting(here, capsys):
    torch.save(build(build_model, "torchvision/squeezenet1_1", 4).state_dict(), "squeezenet.pth")
    named = ["--model", "torchvision/squeezenet1_1", "--weights", "squeezenet.pth", "--num_classes", "4"]
    args = ["score", *named, *PLANTED, *LOCALIZATION, "--limit", "2", "--image_size"]
    cli.explain([*args, "48"])
    assert "other settings (input)" in refused(capsys, *args, "64", command=cli.explain)
    told = refused(capsys, "score", *named, "--out", "other", command=cli.explain)
    assert told.startswith("A network by name was not trained here: name the data by --data")


def test_methods_that_do_not_fit_are_said_once_and_the_others_scored(here, capsys):
    torch.save(build(build_model, "torchvision/squeezenet1_1", 4).state_dict(), "squeezenet.pth")
    named = ["--model", "torchvision/squeezenet1_1", "--weights", "squeezenet.pth", "--num_classes", "4"]
    args = ["score", *named, "--image_size", "48", *PLANTED, *LOCALIZATION, "--batch_size", "4"]
    cli.explain([*args, "--methods", "cam,gradcam"])
    told = capsys.readouterr()
    assert told.err.count("CAM does not fit torchvision/squeezenet1_1: CAM needs a head of global average") == 1
    rows = rows_of("scores/scores.csv")
    assert {method for _, method in rows} == {"gradcam", "centred_gaussian"} and len(rows) == 24
    assert {row["of"] for row in rows.values()} == {"2"}
    assert list(summary()["metrics"]["localization"]) != [] and "cam" not in summary()["metrics"]["localization"]


@pytest.fixture
def photos(here):
    """Five photos: boxes on 0, 1 and 4, none on 2, and 3 cannot be read."""
    noise = np.random.default_rng(0)
    (here / "photos" / "images").mkdir(parents=True)
    boxes = {0: [[4, 4, 20, 16]], 1: [[10, 10, 30, 30], [35, 5, 45, 20]], 4: [[0, 0, 50, 40]]}
    entries = {}
    for index in range(5):
        entry = {"label": index % 4, "width": 50, "height": 40}
        entries[f"{index}.{'jpg' if index == 3 else 'png'}"] = entry | (
            {"boxes": boxes[index]} if index in boxes else {}
        )
        if index != 3:
            Image.fromarray(noise.integers(0, 255, (40, 50, 3), np.uint8)).save(f"photos/images/{index}.png")
    (here / "photos" / "images" / "3.jpg").write_bytes(b"\xff\xd8 no picture")
    (here / "photos" / "annotations.json").write_text(json.dumps(entries))
    return ["--data", "AnnotatedPhotos", "--data.root", "photos", "--data.num_workers", "0", *CPU]


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
    assert lines["energy_in_mask"]["centred_gaussian"]["n"] == 3 and lines["sharpness"]["centred_gaussian"]["n"] == 4
    out = capsys.readouterr().out
    assert "4 images of 5" in out and "1 unreadable left out" in out
    # Again: the file is tried anew, and nothing else is done.
    with images_asked(planted(1)) as asked:
        assert score(*photos, "--methods", "cam", "--metrics", "energy_in_mask,sharpness", "--batch_size", "2") == rows
    assert asked == [] and summary() == told


def test_undefined_images_are_counted(photos, capsys):
    entries = json.loads(Path("photos/annotations.json").read_text())
    # So narrow that no pixel's centre lies in it.
    entries["0.png"]["boxes"] = [[4.6, 4.6, 5.4, 5.4]]
    Path("photos/annotations.json").write_text(json.dumps(entries))
    rows = score(*photos, "--methods", "cam", *LOCALIZATION)
    assert rows[0, "centred_gaussian"]["localization"] == "nan"
    line = summary()["metrics"]["localization"]["centred_gaussian"]
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
    figures = summary()["metrics"]["energy_in_mask"]["centred_gaussian"]["figures"]
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
    args = ["--checkpoint", CHECKPOINT, *photos, "--data.num_workers", workers]
    told = refused(capsys, "score", *args, command=cli.explain)
    assert told.startswith("The boxes of ") and "drawn on 51 x 40 px" in told


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
            ["--metrics", "localisation"],
            "Unknown metric 'localisation'. Did you mean localization",
        ),
        (["--metrics", "insertion_deletion(stepp=3)"], "there is no option 'stepp'. Did you mean step?"),
        (["--metrics", "insertion_deletion(step=3"], "cannot be read: options follow a name like"),
        (["--metrics", "insertion_deletion(step=-3)"], "step is a whole number from 1, got -3."),
        (["--metrics", "localization,localization"], "'localization' is there twice"),
        (["--metrics", "localization_ref"], "compares with another network"),
        (["--metrics", ","], "No metric was named"),
        (["--methods", "gradcm"], "Unknown method 'gradcm'. Did you mean gradcam"),
        (["--methods", "occlusion(sise=8)"], "there is no option 'sise'. Did you mean size or stride?"),
        (["--methods", "cam,cam"], "Two explainers are called 'cam'"),
        (["--methods", ","], "No method was named"),
        (["--limit", "0"], "limit is a whole number from 1, got 0."),
        (["--batch_size", "0"], "batch_size is a whole number from 1, got 0."),
        (["--target", "lable"], "lable"),
        (["--metrcs", "pointing"], "There is no option --metrcs. Did you mean --metrics"),
        (["--reference", "torchvision/resnet18"], "would have random weights: add --reference_weights pretrained"),
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
