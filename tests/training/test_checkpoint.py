"""Loading checkpoints: faithful where they are livecam's, one sentence where they are not, and never their code."""

import pickle
import random

import pytest
import torch

from livecam.training.checkpoint import load_classifier
from livecam.training.classifier import Classifier

SETTINGS = {"model": "unet", "num_classes": 3, "model_args": {"width": 2, "depth": 1}}


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return Classifier(**SETTINGS, class_names=["a", "b", "c"], image_size=16, mean=(0.5,) * 3, std=(0.2,) * 3).eval()


def content(classifier, **changes):
    return {"state_dict": classifier.state_dict(), "hyper_parameters": dict(classifier.hparams), "epoch": 3} | changes


def saved(path, data):
    torch.save(data, path)
    return path


def test_brings_back_the_same_classifier(classifier, tmp_path):
    classifier.train()
    loaded = load_classifier(saved(tmp_path / "a.ckpt", content(classifier)))
    classifier.eval()
    images = torch.randn(2, 3, 16, 16)
    assert not any(module.training for module in loaded.modules())
    assert torch.equal(loaded(images), classifier(images))
    assert dict(loaded.hparams) == dict(classifier.hparams)
    assert loaded.hparams.class_names == ["a", "b", "c"] and loaded.hparams.mean == [0.5] * 3


def test_weights_that_training_started_from_may_be_gone(classifier, tmp_path):
    settings = dict(classifier.hparams) | {"weights": str(tmp_path / "gone.pth")}
    loaded = load_classifier(saved(tmp_path / "a.ckpt", content(classifier, hyper_parameters=settings)))
    assert loaded.hparams.weights is None


def test_settings_of_other_versions_are_left_out(classifier, tmp_path):
    settings = dict(classifier.hparams) | {"since_removed": 1}
    load_classifier(saved(tmp_path / "a.ckpt", content(classifier, hyper_parameters=settings)))


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No checkpoint at .*gone\.ckpt: training writes them to runs/"):
        load_classifier(tmp_path / "gone.ckpt")


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_files(classifier, tmp_path, zipped):
    """Whatever bytes are flipped or cut off, the answer is a classifier or a ValueError."""
    path = tmp_path / "a.ckpt"
    torch.save(content(classifier), path, _use_new_zipfile_serialization=zipped)
    whole, dice, refused = path.read_bytes(), random.Random(0), 0
    for trial in range(60):
        damaged = bytearray(whole)
        for _ in range(4):
            # The first kilobytes hold the structure; further on are mostly numbers.
            damaged[dice.randrange(min(len(whole), 2000))] = dice.randrange(256)
        path.write_bytes(damaged if trial % 3 else whole[: dice.randrange(len(whole))])
        try:
            load_classifier(path)
        except ValueError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("text", [b"", b"hello\n", b"\x80\x02junk"])
def test_files_of_something_else(tmp_path, text):
    path = tmp_path / "a.ckpt"
    path.write_bytes(text)
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        load_classifier(path)


class Malice:
    """Unpickling it writes a file."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return open, (str(self.trace), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_never_run(classifier, tmp_path, zipped):
    path, trace = tmp_path / "a.ckpt", tmp_path / "trace"
    torch.save(content(classifier, extra=Malice(trace)), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="carries code, which is never run"):
        load_classifier(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists(), "the trap works"


def test_code_in_a_bare_pickle_is_never_run(tmp_path):
    path, trace = tmp_path / "a.ckpt", tmp_path / "trace"
    path.write_bytes(pickle.dumps(Malice(trace), protocol=2))
    with pytest.raises(ValueError, match="never run"):
        load_classifier(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "foreign",
    [
        {"net.head.weight": torch.ones(2)},
        {"hyper_parameters": {"lr": 1.0}, "state_dict": {"layer.weight": torch.ones(2)}},
        {"hyper_parameters": ["unet"], "state_dict": {}},
        {"hyper_parameters": {"model": "unet"}, "state_dict": [torch.ones(2)]},
        [1, 2],
        torch.ones(3),
    ],
)
def test_checkpoints_of_something_else(tmp_path, foreign):
    with pytest.raises(ValueError, match=r"holds no classifier: pass a \.ckpt file of train\.py, or --model"):
        load_classifier(saved(tmp_path / "a.ckpt", foreign))


@pytest.mark.parametrize(
    ("changes", "why"), [({"head": "softmix"}, "Did you mean softmax"), ({"num_classes": "x"}, "")]
)
def test_settings_that_build_nothing(classifier, tmp_path, changes, why):
    settings = dict(classifier.hparams) | changes
    with pytest.raises(ValueError, match=rf"The classifier in .*a\.ckpt cannot be built: .*{why}"):
        load_classifier(saved(tmp_path / "a.ckpt", content(classifier, hyper_parameters=settings)))


def test_weights_of_another_architecture(classifier, tmp_path):
    wider = dict(classifier.hparams) | {"model_args": {"width": 3, "depth": 1}}
    with pytest.raises(ValueError, match=r"a\.ckpt do not fit unet.* of another shape \(net\.") as caught:
        load_classifier(saved(tmp_path / "a.ckpt", content(classifier, hyper_parameters=wider)))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    deeper = dict(classifier.hparams) | {"model_args": {"width": 2, "depth": 2}}
    with pytest.raises(ValueError, match=r"missing \(net\."):
        load_classifier(saved(tmp_path / "a.ckpt", content(classifier, hyper_parameters=deeper)))
    other = content(classifier, state_dict={"net.somewhere": torch.ones(1)})
    with pytest.raises(ValueError, match=r"1 unexpected \(net\.somewhere\)"):
        load_classifier(saved(tmp_path / "a.ckpt", other))
