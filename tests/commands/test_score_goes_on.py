"""``explain.py score`` goes on where it was, and leaves scores of other settings alone."""

import json
import re
import shutil
from collections import defaultdict
from pathlib import Path

import pytest
import torch
import yaml
from helpers.checkpoints import save_unet
from helpers.toys import build
from scored import CHECKPOINT, CPU, LOCALIZATION, PLANTED, images_asked, planted, score, summary
from test_cli import refused

from livecam import cli
from livecam.models import build_model


def test_data_come_from_the_run_folder(here, capsys):
    told = refused(capsys, "score", "--checkpoint", CHECKPOINT, command=cli.explain)
    assert "fit_config.yaml, which tells what data the training had" in told
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
    assert summary()["images"] == summary()["metrics"]["localization"]["centered_gaussian"]["n"] == 4
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
        (["--split", "test"], "split"),
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


def test_a_photo_more_is_another_set(photos, capsys):
    """Photos are known by their place, which a new one may change for all."""
    args = [*photos, "--methods", "cam", *LOCALIZATION]
    score(*args)
    before = Path("scores/scores.csv").read_bytes()
    file = Path("photos/annotations.json")
    entries = json.loads(file.read_text())
    file.write_text(json.dumps(entries | {"00.png": entries["0.png"]}))
    shutil.copy("photos/images/0.png", "photos/images/00.png")
    told = refused(capsys, "score", "--checkpoint", CHECKPOINT, *args, command=cli.explain)
    assert "other settings (images)" in told
    assert Path("scores/scores.csv").read_bytes() == before


def test_scores_without_their_settings_are_refused(here, capsys):
    score(*PLANTED, "--methods", "cam", *LOCALIZATION)
    Path("scores/settings.json").unlink()
    args = ["score", "--checkpoint", CHECKPOINT, *PLANTED, "--methods", "cam", *LOCALIZATION]
    assert "other settings" in refused(capsys, *args, command=cli.explain)
