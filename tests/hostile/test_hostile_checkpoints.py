"""Checkpoints and weights that mean harm: one sentence each, nothing executed, fetched, hung or filled."""

import io
import pickle
import zipfile

import pytest
import torch
from helpers.checkpoints import save_unet
from hostile_files import Malice, by_hand, is_armed

from livecam import cli
from livecam.evaluation.loaded_network import NetworkOptions, load_network
from livecam.models import build_model
from livecam.models.weights import read_state
from livecam.training.checkpoint import load_classifier
from livecam.training.resume import WholeCheckpoints, check_checkpoint


@pytest.fixture
def whole(tmp_path):
    """A good checkpoint's content."""
    return torch.load(save_unet(tmp_path / "whole.ckpt"), weights_only=True)


def doubled(levels=60):
    """A list that stands for more values than there are atoms, and takes a kilobyte."""
    value = ["x"] * 9
    for _ in range(levels):
        value = [value] * 9
    return value


NAN, MANY = float("nan"), ["x"] * 20_000
SETTINGS = {
    "model": ["../../x", "/etc/passwd", "timm/hf-hub:evil/x", "timm/local-dir:/tmp", "timm/\0", "", None, 3, ["unet"],
              doubled(), "torchvision/__import__('os')", "\x1b[2J\n"],
    "model_args": [{"__class__": "os.system"}, {"name": "x"}, {1: 2}, [1], "width=4", {"width": "os.system('x')"},
                   {"width": 30_000}, {"depth": 2000}, {"width": -4}, {"width": NAN}, {"skips": doubled()},
                   {"skips": MANY}, {"\x1b[2J\n": 1}],
    "num_classes": [10**9, 10**30, -1, 0, 2.5, "4", None, NAN],
    "class_names": ["abcd", [None] * 4, [["a"]] * 4, doubled(), {"a": 1}, ["a"] * 5, 7],
    "image_size": [10**9, 10**30, -5, 0, "32", 32.5, None, [32]],
    "mean": [[0.5], [0.5] * 4, [NAN, 0, 0], "abc", 5, None, [doubled()] * 3, [float("inf")] * 3],
    "std": [[0.0, 1, 1], [NAN, 1, 1], [-1, 1, 1], [float("inf")] * 3, [], ["1"] * 3],
    "resize": ["x", ["crop"], None, "\x1b[2J"],
    "head": ["../x", ["softmax"], doubled(), None],
    "optimizer": [doubled(), "os.system", 3],
    "lr": ["x", NAN, None],
    "warmup": ["x", 7, NAN],
    "freeze_backbone": ["yes", []],
}  # fmt: skip
# Of all networks those with a similar name are looked for, which imports several libraries.
SLOW = {"model"}
CASES = [
    pytest.param(key, value, id=f"{key}-{number}", marks=[pytest.mark.slow] * (key in SLOW))
    for key, values in SETTINGS.items()
    for number, value in enumerate(values)
]
TIMM = ["checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"]


def told(path):
    """The one sentence of a refusal, from wherever between file and model input it comes."""
    with pytest.raises(ValueError) as caught:
        load_network(NetworkOptions(checkpoint=str(path))).prepare(torch.zeros(3, 40, 50, dtype=torch.uint8))
    sentence = str(caught.value)
    assert len(sentence) < 800 and sentence.count("\n") == 0 and "\x1b" not in sentence
    return sentence


@pytest.mark.parametrize(("key", "value"), CASES)
def test_settings_that_no_training_writes(whole, tmp_path, key, value, monkeypatch):
    # Reached by none: what is refused late is the image that a photo becomes.
    monkeypatch.setattr("livecam.data.transforms.v2.functional.pil_to_tensor", lambda photo: photo)
    whole["hyper_parameters"][key] = value
    torch.save(whole, tmp_path / "a.ckpt")
    assert told(tmp_path / "a.ckpt")


@pytest.mark.parametrize("argument", TIMM)
@pytest.mark.parametrize("model", ["timm/resnet18", "torchvision/resnet18"])
def test_settings_that_would_read_or_fetch_other_files(whole, tmp_path, model, argument):
    whole["hyper_parameters"] |= {"model": model, "model_args": {argument: str(tmp_path / "evil.pth")}}
    torch.save(whole, tmp_path / "a.ckpt")
    assert f"{model} takes no argument '{argument}' here: say by weights what weights it has." in told(
        tmp_path / "a.ckpt"
    )


def test_a_network_larger_than_its_weights_is_not_built(whole, tmp_path):
    for settings in ({"width": 2000, "depth": 3}, {"width": 4, "depth": 500}):
        whole["hyper_parameters"]["model_args"] = settings
        torch.save(whole, tmp_path / "a.ckpt")
        assert "its settings ask for a network far larger than the weights beside them" in told(tmp_path / "a.ckpt")


STATES = {
    "empty": lambda state: {},
    "no dict": lambda state: [*state.values()],
    "numbers as names": lambda state: dict(enumerate(state.values())),
    "lists": lambda state: {key: value.tolist() for key, value in state.items()},
    "without memory": lambda state: {key: value.to("meta") for key, value in state.items()},
    "sparse": lambda state: {key: value.to_sparse() if value.ndim else value for key, value in state.items()},
    "complex": lambda state: {key: value.to(torch.complex64) for key, value in state.items()},
    "of any size": lambda state: {key: torch.zeros(1).expand(10**6, 10**6, 10**6) for key in state},
    "strange names": lambda state: {f"\x1b[2J\n{key}": value for key, value in state.items()},
    "prefixes alone": lambda state: {"module.": torch.zeros(1)},
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("kind", STATES)
def test_weights_that_are_none(whole, tmp_path, kind):
    state = STATES[kind](whole["state_dict"])
    torch.save(whole | {"state_dict": state}, tmp_path / "a.ckpt")
    assert "holds no classifier" in (sentence := told(tmp_path / "a.ckpt")) or "do not fit unet" in sentence
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth.* (holds no state dict|do not fit)"):
        build_model("unet", 4, tmp_path / "a.pth", width=4, depth=1)


def packed(whole, folder, **extra):
    """The good checkpoint with a malicious pickle inside, in every wrapping: name of the file -> content."""
    trace = folder / "executed"
    content = whole | {"extra": Malice(trace)}
    files = {}
    for name, new in (("zip", True), ("tar", False)):
        file = io.BytesIO()
        torch.save(content, file, _use_new_zipfile_serialization=new)
        files[name] = file.getvalue()
    files["pickle"] = pickle.dumps(content, protocol=2)
    files["by hand"] = by_hand(trace)
    # A good archive in which only the pickle was exchanged.
    torch.save(whole, folder / "good.pt")
    with zipfile.ZipFile(folder / "good.pt") as good, zipfile.ZipFile(folder / "exchanged.pt", "w") as bad:
        for entry in good.infolist():
            inside = by_hand(trace) if entry.filename.endswith("data.pkl") else good.read(entry)
            bad.writestr(entry.filename, inside)
    files["exchanged"] = (folder / "exchanged.pt").read_bytes()
    return files, trace


@pytest.mark.parametrize("suffix", ["ckpt", "pt", "pth", "safetensors"])
@pytest.mark.parametrize("wrapping", ["zip", "tar", "pickle", "by hand", "exchanged"])
def test_code_is_never_run(whole, tmp_path, monkeypatch, wrapping, suffix):
    files, trace = packed(whole, tmp_path)
    assert is_armed(by_hand(trace), trace), "the trap works"
    path = tmp_path / f"evil.{suffix}"
    path.write_bytes(files[wrapping])
    # What other code of a user may have told torch.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    for read in (load_classifier, read_state, check_checkpoint):
        with pytest.raises(ValueError, match=rf"evil\.{suffix} .*never run"):
            read(path)
        assert not trace.exists()
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        WholeCheckpoints().load_checkpoint(path)
    assert not trace.exists()


def test_a_small_file_that_unpacks_to_a_large_one(tmp_path):
    torch.save({"a": torch.zeros(3_000_000)}, tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as good,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as bad,
    ):
        for entry in good.infolist():
            bad.writestr(entry.filename, good.read(entry))
    assert torch.load(tmp_path / "b.pt", weights_only=True)["a"].numel() == 3_000_000, "torch itself unpacks it"
    assert (tmp_path / "b.pt").stat().st_size < 30_000
    with pytest.raises(ValueError, match=r"b\.pt cannot be read: it is damaged"):
        read_state(tmp_path / "b.pt")


HUGE = b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}'
HEADERS = {
    "empty": b"",
    "longest": b"\xff" * 8,
    "terabyte": (2**40).to_bytes(8, "little") + b"{}",
    "nothing": (2).to_bytes(8, "little") + b"{}",
    "braces": (16).to_bytes(8, "little") + b"{" * 16,
    "huge shape": (80).to_bytes(8, "little") + HUGE.ljust(80) + bytes(4),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_safetensors_with_a_bad_header(tmp_path, kind):
    (tmp_path / "a.safetensors").write_bytes(HEADERS[kind])
    with pytest.raises(ValueError, match=r"a\.safetensors (cannot be read|holds no state dict)"):
        read_state(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "content", [[1], {"state_dict": [1]}, {"state_dict": {}, "hyper_parameters": [1]}, {}, 3], ids=str
)
def test_training_goes_on_from_no_other_file(config, tmp_path, capsys, content):
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(SystemExit) as stop:
        cli.train(["fit", "-c", config(), "--ckpt_path", str(tmp_path / "a.ckpt")])
    assert stop.value.code == 2
    assert f"error: {tmp_path}/a.ckpt holds no training to go on from: " in capsys.readouterr().err


@pytest.mark.parametrize("remote", [True, False])
def test_lightning_is_not_left_to_trust_a_checkpoint(whole, tmp_path, monkeypatch, remote):
    """Lightning reads remote checkpoints with their code unless it is told otherwise."""
    asked = []
    monkeypatch.setattr("lightning.fabric.plugins.io.torch_io.pl_load", lambda *a, **given: asked.append(given))
    torch.save(whole, tmp_path / "a.ckpt")
    WholeCheckpoints().load_checkpoint(tmp_path / "a.ckpt", weights_only=False if remote else None)
    assert [given["weights_only"] for given in asked] == [True]


@pytest.mark.parametrize("names", [["<b>", "[red]", "a|b", "\x1b[2J\n"], ["[/]", "\udcff", "\u202e", "狼"]])
def test_names_of_classes_are_made_printable(tmp_path, names):
    loaded = load_classifier(save_unet(tmp_path / "a.ckpt", class_names=names)).hparams.class_names
    assert len({*loaded}) == 4 and not any("\x1b" in name or "\n" in name or "\udcff" in name for name in loaded)
    assert [a for a, b in zip(names, loaded) if a == b] == [name for name in names if name.isprintable()]
