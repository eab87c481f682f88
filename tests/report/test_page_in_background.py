"""The page is written behind the training's back: nothing is lost, nothing is named too early, nothing is shared."""

import copy
import multiprocessing
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_html_logger import picture, read, series

from livecam.report.html.logger import HTMLLogger
from livecam.report.html.page import WRITER
from livecam.report.html.page_data import PageData


@pytest.fixture
def logger(tmp_path):
    return HTMLLogger(str(tmp_path), name="run")


@pytest.fixture
def held(logger):
    """The page has begun, and nothing more is written until it is set."""
    event = threading.Event()
    logger.log_graph(None)
    logger.flush()
    WRITER.put(event.wait)
    yield event
    event.set()
    WRITER.drain()


def test_logging_waits_for_no_file(logger, held):
    before = Path(logger.log_dir, "data.js").read_bytes()
    logger.log_hyperparams({"lr": 1})
    logger.log_metrics({"loss": 1.0}, 3)
    logger.log_image("g", [picture(), picture()])
    logger.log_table("t", ["a"], [[1]])
    assert Path(logger.log_dir, "data.js").read_bytes() == before and not any(Path(logger.log_dir, "media").iterdir())
    held.set()
    logger.finalize("success")
    data = read(logger)
    assert series(data, "loss") == {3: 1} and data["tables"] and len(list(Path(logger.log_dir, "media").iterdir())) == 2


def test_wrong_input_is_refused_at_once(logger, held):
    for wrong in (
        lambda: logger.log_image("g", [picture(), np.zeros((8, 8))]),
        lambda: logger.log_image("g", [picture()], caption=["a", "b"]),
        lambda: logger.log_table("t", ["a"], [[1, 2]]),
        lambda: logger.log_metrics({"loss": "x"}),
    ):
        with pytest.raises(ValueError):
            wrong()
    assert not held.is_set()


@pytest.mark.parametrize("kind", ["array", "gray", "tensor", "image"])
def test_a_picture_that_is_changed_afterwards_is_shown_as_it_was(logger, held, kind):
    array = picture(200)
    given = {
        "array": array,
        "gray": array[:, :, 0],
        "tensor": torch.from_numpy(array),
        "image": Image.fromarray(array),
    }[kind]
    logger.log_image("g", [given], 0)
    if kind == "image":
        given.paste((0, 0, 0), (0, 0, *given.size))
    else:
        given[:] = 0
    held.set()
    logger.flush()
    (file,) = Path(logger.log_dir, "media").iterdir()
    assert np.asarray(Image.open(file)).min() > 190


def test_the_history_never_names_a_picture_that_is_not_there(logger, monkeypatch):
    replace, named = os.replace, []

    def look(part, file):
        replace(part, file)
        if file.name == "data.js":
            galleries = PageData.from_js(file.read_text("ascii")).galleries
            files = [each["file"] for steps in galleries.values() for entry in steps.values() for each in entry]
            named.append(len(files))
            assert all(Path(logger.log_dir, name).exists() for name in files)

    monkeypatch.setattr(os, "replace", look)
    for step in range(5):
        logger.log_image("g", [picture(step), picture(step)], step)
        logger.log_metrics({"loss": 0.0}, step)
    logger.flush()
    assert named[-1] == 10 and named == sorted(named)


def test_points_that_come_while_the_history_is_written(monkeypatch):
    """The training goes on at any moment of the writing, here at each number of it."""
    data, more = PageData(metrics={key: {0: 0.0, 1: 0.0} for key in "abc"}), iter(range(2, 100))

    def number(value):
        data.metrics.setdefault(str(next(more)), {})[0] = 0.0
        data.metrics["a"][next(more)] = 0.0
        return value

    monkeypatch.setattr("livecam.report.html.page_data._number", number)
    assert PageData.from_js(data.to_js()).metrics == {key: {0: 0.0, 1: 0.0} for key in "abc"}


def test_what_a_kill_takes_back_is_what_was_written_last(logger, held):
    logger.log_image("g", [picture()], 3)
    logger.log_image("g", [picture()], 9)
    threading.Timer(0.01, held.set).start()
    logger.discard_from(5)
    logger.flush()
    assert [entry["step"] for entry in read(logger)["galleries"][0]["entries"]] == [3]


def test_another_logger_of_the_folder_finds_what_was_still_to_be_written(tmp_path, logger, held):
    logger.log_table("t", ["a"], [[1]])
    threading.Timer(0.01, held.set).start()
    second = HTMLLogger(str(tmp_path), name="run")
    second.log_metrics({"loss": 1.0}, 0)
    assert read(second)["tables"][0]["rows"] == [[1]]


def test_a_failure_of_any_kind_is_told_once(logger, monkeypatch):
    logger.log_metrics({"loss": 1.0}, 0)
    logger.flush()
    with monkeypatch.context() as patch, pytest.warns(UserWarning) as told:
        patch.setattr(PageData, "to_js", lambda self: 1 / 0)
        for number in range(3):
            logger.log_table("t", ["a"], [[number]])
        WRITER.drain()
    (sentence,) = (str(one.message) for one in told)
    assert "cannot be written (division by zero); training goes on" in sentence and logger.path in sentence
    logger.finalize("success")
    assert read(logger)["tables"][0]["rows"] == [[2]]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda logger: pickle.loads(pickle.dumps(logger))])
def test_a_copy_goes_on(logger, copied):
    logger.log_image("g", [picture()], 1)
    second = copied(logger)
    assert Path(logger.log_dir, "data.js").exists()
    second.log_metrics({"loss": 1.0}, 2)
    second.finalize("success")
    assert series(read(second), "loss") == {2: 1} and read(second)["galleries"]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_neither_writes_nor_waits_for_ever(logger, held, tmp_path):
    logger.log_table("t", ["a"], [["parent"]])
    before = sorted(tmp_path.rglob("*"))

    def child():
        with pytest.warns(UserWarning, match="a fork of it shows nothing"):
            logger.log_table("t", ["a"], [["child"]])
            logger.log_image("g", [picture()], 0)
            logger.finalize("failed")
        assert sorted(tmp_path.rglob("*")) == before

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    held.set()
    logger.flush()
    assert read(logger)["tables"][0]["rows"] == [["parent"]] and read(logger)["status"] == "running"


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_that_begins_a_page_of_its_own_writes_it(logger, tmp_path):
    other = HTMLLogger(str(tmp_path), name="other")
    logger.log_metrics({"loss": 1.0}, 0)
    process = multiprocessing.get_context("fork").Process(target=lambda: other.log_table("t", ["a"], [["child"]]))
    process.start()
    process.join(60)
    assert process.exitcode == 0 and read(other)["tables"][0]["rows"] == [["child"]]
