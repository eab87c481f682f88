"""The local page: its files survive kills and hostile text, resume without doubles, and open in a browser."""

import html
import json
import math
import os
import re
import warnings
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from livecam.report.html.logger import HTMLLogger
from livecam.report.html.page import WRITER, safe_name
from livecam.report.html.page_data import PageData, config_tree

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"> 'q' \"d\" \\ `${1}` \u2028\u2029\r\n__proto__ 狼"


def picture(value=0, height=8, width=24):
    return np.full((height, width, 3), value, np.uint8)


def read(logger):
    """An independent reader of what has been asked to be written: the file is one assignment of strict JSON."""
    WRITER.drain()
    text = Path(logger.log_dir, "data.js").read_text("ascii")
    body = re.fullmatch(r"window\.LIVECAM = (\{.*\});\n", text).group(1)
    return json.loads(body, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def series(data, key):
    (found,) = [one for one in data["metrics"] if one["key"] == key]
    return dict(zip(found["steps"], found["values"], strict=True))


@pytest.fixture
def logger(tmp_path):
    return HTMLLogger(str(tmp_path), name="run")


def test_folders_and_names(tmp_path):
    assert HTMLLogger(str(tmp_path), "a").path == str(tmp_path / "a" / "index.html")
    assert HTMLLogger(str(tmp_path), "a", version=3).log_dir == str(tmp_path / "a" / "version_3")
    assert HTMLLogger(str(tmp_path), "a", version="x").log_dir == str(tmp_path / "a" / "x")
    assert HTMLLogger(str(tmp_path), "a").save_dir == str(tmp_path)
    assert len({HTMLLogger(str(tmp_path)).name for _ in range(5)}) == 5
    assert not list(tmp_path.iterdir()), "constructing writes nothing"


def test_everything_logged_arrives(logger):
    logger.log_hyperparams({"model": {"lr": 3e-4, "names": ["dog", "wolf"]}, "seed": None})
    logger.log_metrics({"train/loss": torch.tensor(0.5), "epoch": 0}, step=9)
    logger.log_image("explanations/gallery", [picture(), picture(9)], step=10, caption=["one", "two"])
    logger.log_table("Scores", ["method", "n"], [["cam", 3], ["gradcam", np.float32(0.5)]])
    logger.finalize("success")
    data = read(logger)
    assert data["status"] == "finished" and data["step"] == 10 and data["title"] == "run"
    assert data["config"] == [["model", [["lr", 0.0003], ["names", "[dog, wolf]"]]], ["seed", None]]
    assert series(data, "train/loss") == {9: 0.5} and series(data, "epoch") == {9: 0}
    (entry,) = data["galleries"][0]["entries"]
    assert entry["step"] == 10 and [image["caption"] for image in entry["images"]] == ["one", "two"]
    for image, value in zip(entry["images"], (0, 9), strict=True):
        with Image.open(Path(logger.log_dir, image["file"])) as opened:
            assert opened.size == (image["width"], image["height"]) == (24, 8)
            assert np.abs(np.asarray(opened).astype(int) - value).max() <= 2
    assert data["tables"] == [{"key": "Scores", "columns": ["method", "n"], "rows": [["cam", 3], ["gradcam", 0.5]]}]


def test_numbers_that_json_lacks_survive(logger):
    logger.log_metrics({"a": math.nan, "b": math.inf, "c": -math.inf, "d": 0.1}, step=1)
    logger.log_hyperparams({"x": math.nan})
    logger.log_table("t", ["v"], [[math.inf]])
    data = read(logger)
    assert [series(data, key)[1] for key in "abcd"] == ["NaN", "Infinity", "-Infinity", 0.1]
    back = PageData.from_js(Path(logger.log_dir, "data.js").read_text()).metrics
    assert math.isnan(back["a"][1]) and (back["b"][1], back["c"][1], back["d"][1]) == (math.inf, -math.inf, 0.1)


def test_hostile_text_stays_text(tmp_path):
    logger = HTMLLogger(str(tmp_path), name="run", title=HOSTILE)
    logger.log_hyperparams({HOSTILE: {HOSTILE: HOSTILE}})
    logger.log_metrics({HOSTILE: 1.0}, step=0)
    logger.log_image(f"../../{HOSTILE}", [picture()], step=0, caption=[HOSTILE])
    logger.log_table(HOSTILE, [HOSTILE], [[HOSTILE]])
    logger.flush()
    raw = Path(logger.log_dir, "data.js").read_text("ascii")
    assert not set("<>&") & set(raw) and raw.count("\n") == 1
    data = read(logger)
    assert data["config"] == [[HOSTILE, [[HOSTILE, HOSTILE]]]] and series(data, HOSTILE) == {0: 1}
    assert data["galleries"][0]["entries"][0]["images"][0]["caption"] == HOSTILE
    assert data["tables"] == [{"key": HOSTILE, "columns": [HOSTILE], "rows": [[HOSTILE]]}]
    page = Path(logger.path).read_text("utf-8")
    assert "<img src=x" not in page
    for tag, tail in (("title", " · livecam"), ("h1", "")):
        shown = re.search(f"<{tag}>(.*?)</{tag}>", page, re.S).group(1)
        assert html.unescape(shown).replace("\n", "") == HOSTILE.replace("\r\n", "") + tail
    written = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")}
    assert written == {"run"}, "a key cannot leave the run's folder"
    (file,) = Path(logger.log_dir, "media").iterdir()
    assert re.fullmatch(r"[a-z0-9_-]+\.jpg", file.name)


def test_file_names_never_collide():
    keys = ["a/b", "a-b", "A/b", "a b", "a//b", "/a/b", "", "狼", "犬", "x" * 200, "x" * 201, "..", "\ud800"]
    names = [safe_name(key) for key in keys]
    assert len({name.lower() for name in names}) == len(keys)
    assert all(re.fullmatch(r"[a-z0-9_-]{1,80}", name) for name in names)
    assert safe_name("explanations/gallery") == "explanations-gallery"


def test_nothing_comes_from_outside(logger):
    logger.log_image("g", [picture()], step=0)
    logger.flush()
    for path in (logger.path, Path(logger.log_dir, "data.js")):
        text = Path(path).read_text("utf-8")
        assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp|innerHTML|insertAdjacentHTML|eval\(", text)
        assert not re.search(r"""(?:src|href)=["']?//""", text)


def test_resume_continues_without_doubles(tmp_path):
    first = HTMLLogger(str(tmp_path), name="run", title="T")
    first.log_hyperparams({"lr": 1, "seed": 7})
    for step in range(6):
        first.log_metrics({"loss": float(step), "epoch": 0}, step)
    first.log_image("g", [picture(10), picture(10)], 0)
    first.log_image("g", [picture(10), picture(10)], 5)
    first.finalize("failed")

    second = HTMLLogger(str(tmp_path), name="run")
    second.log_hyperparams({"lr": 2})
    for step in range(4, 9):
        second.log_metrics({"loss": 100.0 + step}, step)
    second.log_image("g", [picture(200)], 5)
    data = read(second)
    assert data["status"] == "running" and data["title"] == "T" and data["config"] == [["lr", 2], ["seed", 7]]
    assert series(data, "loss") == {0: 0, 1: 1, 2: 2, 3: 3} | {step: 100 + step for step in range(4, 9)}
    steps = next(one["steps"] for one in data["metrics"] if one["key"] == "loss")
    assert steps == sorted(set(steps))
    entries = data["galleries"][0]["entries"]
    assert [(entry["step"], len(entry["images"])) for entry in entries] == [(0, 2), (5, 1)]
    with Image.open(Path(second.log_dir, entries[1]["images"][0]["file"])) as opened:
        assert np.asarray(opened).min() > 190
    assert entries[0]["images"][0]["check"] != entries[1]["images"][0]["check"]


@pytest.mark.parametrize("cut", [0, 5, 40, -2])
def test_unreadable_history_is_kept_beside_and_said(tmp_path, cut):
    first = HTMLLogger(str(tmp_path), name="run")
    first.log_metrics({"loss": 1.0}, 0)
    first.flush()
    file = Path(first.log_dir, "data.js")
    torn = file.read_bytes()[:cut]
    file.write_bytes(torn)
    second = HTMLLogger(str(tmp_path), name="run")
    with pytest.warns(UserWarning, match="unreadable"):
        second.log_metrics({"acc": 1.0}, 3)
    second.finalize("success")
    assert [one["key"] for one in read(second)["metrics"]] == ["acc"]
    (kept,) = Path(first.log_dir).glob("data.unreadable-*.js")
    assert kept.read_bytes() == torn


@pytest.mark.parametrize("text", ["[]", "{}", '{"metrics":[{}]}', '{"metrics":{}}', '{"metrics":[],"x":1}', "1"])
def test_foreign_history_is_a_value_error(text):
    with pytest.raises(ValueError):
        PageData.from_js(f"window.LIVECAM = {text};\n")


@pytest.mark.parametrize("when", ["half written", "before the rename"])
def test_a_crash_while_writing_leaves_the_old_page(logger, monkeypatch, when):
    logger.log_table("t", ["a"], [[1]])
    logger.flush()

    def crash(*_args):
        raise KeyboardInterrupt

    def half(path, content):
        with open(path, "wb") as stream:
            stream.write(content[: len(content) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="KeyboardInterrupt"):
        if when == "half written":
            patch.setattr(Path, "write_bytes", half)
        else:
            patch.setattr(os, "replace", crash)
        logger.log_table("t", ["a"], [[2]])
        WRITER.drain()
    assert read(logger)["tables"][0]["rows"] == [[1]]
    assert not list(Path(logger.log_dir).rglob("*.part"))
    logger.finalize("failed")
    assert read(logger)["tables"][0]["rows"] == [[2]] and read(logger)["status"] == "failed"


def test_a_full_disk_costs_the_page_not_the_training(logger, monkeypatch):
    logger.log_metrics({"loss": 1.0}, 0)
    logger.flush()

    def full(*_args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.warns(UserWarning, match="No space left"):
            logger.log_image("g", [picture()], 1)
            logger.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            logger.log_image("g", [picture()], 2)
            logger.flush()
    logger.finalize("success")
    galleries = read(logger)["galleries"]
    named = [image["file"] for gallery in galleries for entry in gallery["entries"] for image in entry["images"]]
    assert all(Path(logger.log_dir, file).exists() for file in named)
    logger.log_image("g", [picture()], 3)
    logger.finalize("success")
    assert read(logger)["galleries"][0]["entries"][-1]["step"] == 3


def test_metrics_are_written_about_once_a_second(logger, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("livecam.report.html.logger.time.monotonic", lambda: now[0])
    writes = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (writes.append(Path(b).name), replace(a, b)))
    logger.log_metrics({"loss": 0.0}, 0)
    for step in range(1, 101):
        now[0] += 0.1
        logger.log_metrics({"loss": 0.0}, step)
        logger.save()
        WRITER.drain()
    assert 9 <= writes.count("data.js") <= 12 and writes.count("index.html") == 1
    logger.log_metrics({"loss": 5.0}, 101)
    logger.after_save_checkpoint(None)
    assert series(read(logger), "loss")[101] == 5, "a checkpoint takes the page with it"


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = HTMLLogger(str(tmp_path), name="run")
    logger.log_hyperparams({"a": 1})
    logger.log_metrics({"a": 1.0}, 0)
    logger.log_image("g", [picture()], 0)
    logger.log_table("t", ["a"], [[1]])
    logger.save()
    logger.log_graph(None)
    logger.after_save_checkpoint(None)
    logger.finalize("success")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "image",
    [
        torch.full((8, 24, 3), 7, dtype=torch.uint8),
        np.full((8, 24), 7, np.uint8),
        np.full((8, 24, 1), 7, np.uint8),
        np.full((8, 24, 4), 7, np.uint8),
        Image.new("P", (24, 8)),
        Image.new("RGBA", (24, 8)),
    ],
)
def test_forms_of_pictures(logger, image):
    logger.log_image("g", [image], 0)
    (shown,) = read(logger)["galleries"][0]["entries"][0]["images"]
    assert (shown["width"], shown["height"], shown["caption"]) == (24, 8, "")


@pytest.mark.parametrize("image", [np.zeros((3, 8, 24), np.uint8), np.zeros((8, 24, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_pictures_in_another_form_are_refused_with_the_remedy(logger, image):
    with pytest.raises(ValueError, match=r"Picture 0 of 'g' must be uint8 of shape \(H, W, 3\).*channels last"):
        logger.log_image("g", [image], 0)


def test_wrong_numbers_are_refused(logger):
    with pytest.raises(ValueError, match="1 pictures but 2 captions"):
        logger.log_image("g", [picture()], 0, ["a", "b"])
    with pytest.raises(ValueError, match="Row 1 of table 't' has 1 cells for 2 columns"):
        logger.log_table("t", ["a", "b"], [[1, 2], [3]])
    with pytest.raises(ValueError, match="'loss' must be one number"):
        logger.log_metrics({"loss": torch.zeros(2)}, 0)


def test_settings_of_any_kind_become_pairs_and_leaves():
    tree = config_tree(
        {"a": Namespace(b=Path("x"), c=(1, 2)), "d": [{"e": True}], "f": torch.tensor(2.5), "g": "y" * 1000, "h": {}}
    )
    assert tree[:3] == [["a", [["b", "x"], ["c", "[1, 2]"]]], ["d", [["0", [["e", True]]]]], ["f", 2.5]]
    assert len(tree[3][1]) < 400 and tree[4] == ["h", []]
    json.dumps(tree, allow_nan=False)
