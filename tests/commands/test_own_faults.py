"""A fault of the program keeps its traceback, whatever kind it is: only what a person can put right is one sentence."""

import ast
from pathlib import Path

import pytest
import torch
from helpers.checkpoints import save_unet
from PIL import Image
from scored import CPU, PLANTED
from test_cli import refused

from livecam import cli
from livecam.core.errors import DataError, LayerNotFoundError, LivecamError, MissingFileError, user_error

ROOT = Path(__file__).parents[2]
LOCALIZATION = ["--metrics", "localization"]
COMMANDS = {
    "maps": ["maps", "photo.png", "--checkpoint", "a.ckpt"],
    "features": ["features", "photo.png", "--checkpoint", "a.ckpt"],
    "reclassify": ["reclassify", "photo.png", "--checkpoint", "a.ckpt"],
    "score": ["score", "--checkpoint", "a.ckpt", *PLANTED, *LOCALIZATION],
    "compare": ["compare", "--checkpoint", "a.ckpt", "b.ckpt", *PLANTED, *LOCALIZATION],
}
INSIDE = {
    "maps": "livecam.commands.maps.write_maps_page",
    "features": "livecam.commands.features.write_maps_page",
    "reclassify": "livecam.commands.reclassify.report",
    "score": "livecam.evaluation.study.NetworkScores",
    "compare": "livecam.commands.compare.study_of",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a.ckpt", "b.ckpt")):
        save_unet(Path(name), seed=seed)
    Image.new("RGB", (40, 40), "red").save("photo.png")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "error"), [*((command, KeyError) for command in COMMANDS), ("maps", ValueError)], ids=str
)
def test_a_fault_of_our_own_keeps_its_traceback(here, monkeypatch, command, error):
    def broken(*args, **kwargs):
        raise error("a fault of our own")

    monkeypatch.setattr(INSIDE[command], broken)
    words = [*COMMANDS[command], "--out", "out", *(CPU if command in ("score", "compare") else ["--device", "cpu"])]
    with pytest.raises(error, match="a fault of our own"):
        cli.explain(words)


@pytest.mark.parametrize("error", [KeyError, ValueError])
def test_a_fault_while_a_training_is_built_keeps_its_traceback(config, monkeypatch, error):
    def broken(*args, **kwargs):
        raise error("a fault of our own")

    monkeypatch.setattr("livecam.training.classifier.build_model", broken)
    with pytest.raises(error, match="a fault of our own"):
        cli.train(["fit", "-c", config(), "--trainer.fast_dev_run", "1"])


def test_what_the_system_says_of_a_named_file_is_one_sentence(here, capsys):
    Path("out").write_text("no folder")
    sentence = refused(capsys, *COMMANDS["maps"], "--out", "out", "--device", "cpu", command=cli.explain)
    assert "out" in sentence and sentence.startswith("[Errno")


@pytest.mark.parametrize(
    ("kind", "content", "sentence"),
    [
        ("AnnotatedPhotos", "[", "annotations.json is malformed: it is not JSON"),
        ("AnnotatedPhotos", '{"a.png": {"label": -1}}', "'a.png' should have a label"),
        ("Coco", '{"images": 3}', "instances.json is malformed: it should hold images"),
    ],
)
def test_what_is_wrong_in_a_file_of_the_data_is_one_sentence(config, capsys, kind, content, sentence):
    def change(settings):
        settings["data"] = {"class_path": kind, "init_args": {"root": "photos", "image_size": 32}}

    Path("photos").mkdir()
    Path("photos", "instances.json" if kind == "Coco" else "annotations.json").write_text(content)
    assert sentence in refused(capsys, "fit", "-c", config(change))


def test_every_refusal_that_is_made_is_one_of_ours():
    """A plain ValueError would show its traceback, as a fault of the program does."""
    plain = {
        f"{file.name}:{node.lineno}"
        for folder in (ROOT / "src", ROOT / "callbacks")
        for file in folder.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Raise | ast.Return)
        and isinstance(made := node.exc if isinstance(node, ast.Raise) else node.value, ast.Call)
        and ast.unparse(made.func) in ("ValueError", "KeyError", "FileNotFoundError", "OSError")
        # What nobody but the program itself can cause, or what is caught beside it.
        and file.name not in ("files.py", "page_data.py")
    }
    assert not plain


def test_refusals_have_one_root_and_stay_what_they_were():
    assert issubclass(LivecamError, ValueError) and issubclass(LayerNotFoundError, KeyError)
    assert issubclass(MissingFileError, FileNotFoundError)
    assert str(LayerNotFoundError("no layer 'x'")) == "no layer 'x'", "a KeyError would quote it"
    wrapped = ValueError("many lines")
    wrapped.__cause__ = refusal = DataError("the cause")
    assert user_error(wrapped) is refusal and user_error(ValueError("a fault")) is None
    named, nameless = OSError(2, "No such file", "x.png"), OSError("a fault")
    assert user_error(named) is named and user_error(nameless) is None
    assert user_error(torch.OutOfMemoryError("a fault")) is None
