"""A fault of the program keeps its traceback, whatever kind it is: only what a person can put right is one sentence."""

from pathlib import Path

import pytest
import torch
from helpers.checkpoints import save_unet
from PIL import Image
from scored import CPU, PLANTED
from test_cli import refused

from livecam import cli
from livecam.core.errors import DataError, LayerNotFoundError, LivecamError, MissingFileError, user_error

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


@pytest.mark.parametrize("error", [KeyError, ValueError], ids=lambda error: error.__name__)
@pytest.mark.parametrize("command", COMMANDS)
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
