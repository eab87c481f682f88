import logging
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from livecam.models import build_model

TINY = {"width": 4, "depth": 2}
IMAGES = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def donor():
    torch.manual_seed(0)
    return build_model("unet", 3, **TINY).eval()


def logits(net):
    with torch.no_grad():
        return net.eval()(IMAGES)


def prefixed(state, prefix):
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: prefixed(state, "module."),
        lambda state: {"state_dict": prefixed(state, "net._orig_mod."), "epoch": 3, "hyper_parameters": {"lr": 0.1}},
        lambda state: {"model": state},
    ],
    ids=["bare", "module", "lightning", "model"],
)
def test_round_trip(donor, tmp_path, wrap):
    file = tmp_path / "weights.pth"
    torch.save(wrap(donor.state_dict()), file)
    assert torch.equal(logits(build_model("unet", 3, weights=str(file), **TINY)), logits(donor))


def test_safetensors_round_trip(donor, tmp_path):
    from safetensors.torch import save_file

    save_file(donor.state_dict(), tmp_path / "weights.safetensors")
    net = build_model("unet", 3, weights=tmp_path / "weights.safetensors", **TINY)
    assert torch.equal(logits(net), logits(donor))


def test_trained_skips_can_be_ablated_afterwards(donor, tmp_path):
    torch.save(donor.state_dict(), tmp_path / "weights.pth")
    ablated = build_model("unet", 3, weights=tmp_path / "weights.pth", skips="zero", **TINY)
    assert all(torch.equal(value, donor.state_dict()[key]) for key, value in ablated.state_dict().items())
    assert not torch.allclose(logits(ablated), logits(donor))


def test_head_starts_anew_only_for_another_number_of_outputs(donor, tmp_path, caplog):
    file = tmp_path / "weights.pth"
    torch.save(donor.state_dict(), file)
    with caplog.at_level(logging.INFO, "livecam"):
        same = build_model("unet", 3, weights=file, **TINY)
        assert not caplog.records
        torch.manual_seed(9)
        other = build_model("unet", 7, weights=file, **TINY)
    torch.manual_seed(9)
    fresh = build_model("unet", 7, **TINY)
    assert torch.equal(same.head.weight, donor.head.weight)
    assert torch.equal(other.head.weight, fresh.head.weight)
    assert torch.equal(other.bottleneck[0].weight, donor.bottleneck[0].weight)
    assert [record.getMessage() for record in caplog.records] == [
        f"Weights in {file} have 3 outputs, unet has 7: its head starts anew."
    ]


def test_everything_that_does_not_fit_is_listed(donor, tmp_path):
    state = donor.state_dict()
    for key in [key for key in state if key.startswith("bottleneck.")][:5]:
        del state[key]
    state["extra.weight"] = torch.zeros(2)
    state["encoder.0.0.weight"] = torch.zeros(9, 3, 3, 3)
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="another architecture") as error:
        build_model("unet", 3, weights=tmp_path / "weights.pth", **TINY)
    message = str(error.value)
    assert "5 missing (bottleneck.0.weight, bottleneck.1.weight, bottleneck.1.bias, …)" in message
    assert "1 unexpected (extra.weight)" in message
    assert "1 of another shape (encoder.0.0.weight (9, 3, 3, 3), not (4, 3, 3, 3))" in message
    assert str(tmp_path / "weights.pth") in message


def test_head_of_another_width_or_absent_is_no_new_head(donor, tmp_path):
    state = donor.state_dict()
    state["head.weight"] = torch.zeros(3, 99)
    del state["head.bias"]
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"1 missing \(head.bias\); 1 of another shape \(head.weight \(3, 99\)"):
        build_model("unet", 3, weights=tmp_path / "weights.pth", **TINY)


class Malicious:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_code_in_a_file_does_not_run(donor, tmp_path):
    file, trace = tmp_path / "weights.pth", tmp_path / "executed"
    torch.save({"state_dict": donor.state_dict(), "extra": Malicious(trace)}, file)
    with pytest.raises(ValueError, match=r"weights\.pth cannot be read.*code, which is never run"):
        build_model("unet", 3, weights=file, **TINY)
    assert not trace.exists()
    torch.load(file, weights_only=False)
    assert trace.exists(), "the file was harmless, so this test shows nothing"


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "noise", "empty"])
def test_damaged_files_are_named(donor, tmp_path, name, damage):
    file = tmp_path / name
    torch.save(donor.state_dict(), file)
    whole = file.read_bytes()
    file.write_bytes({"cut": whole[: len(whole) // 2], "noise": bytes(range(256)) * 8, "empty": b""}[damage])
    with pytest.raises(ValueError, match=f"{name} cannot be read: it is damaged") as error:
        build_model("unet", 3, weights=file, **TINY)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, torch.zeros(3)], ids=str)
def test_files_without_a_state_dict_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="holds no state dict"):
        build_model("unet", 3, weights=tmp_path / "weights.pth", **TINY)


def test_absent_file():
    with pytest.raises(FileNotFoundError, match=r"No weights file at nowhere/net\.pth"):
        build_model("unet", 3, weights="nowhere/net.pth")


def test_old_densenet_names_are_understood(tmp_path):
    net = build_model("torchvision/densenet121", 4)
    old = {
        key.replace("norm1", "norm.1").replace("norm2", "norm.2").replace("conv1", "conv.1").replace("conv2", "conv.2")
        if "denselayer" in key
        else key: value
        for key, value in net.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "weights.pth")
    loaded = build_model("torchvision/densenet121", 4, weights=tmp_path / "weights.pth").state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in net.state_dict().items())


def test_auxiliary_classifiers_of_a_file_are_left_out(tmp_path):
    full = build_model("torchvision/googlenet", 4, aux_logits=True)
    torch.save(full.state_dict(), tmp_path / "weights.pth")
    net = build_model("torchvision/googlenet", 4, weights=tmp_path / "weights.pth")
    assert net.aux1 is None
    assert all(torch.equal(value, full.state_dict()[key]) for key, value in net.state_dict().items())


@pytest.fixture
def real_weights():
    if not os.environ.get("LIVECAM_DATA"):
        pytest.skip("LIVECAM_DATA is not set, so there are no trained weights")
    return Path(os.environ["LIVECAM_DATA"]) / "weights"


@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_1"])
def test_real_weights_load_whole(real_weights, name):
    file = real_weights / f"{name}_imagenet.pth"
    net = build_model(f"torchvision/{name}", 1000, weights=file)
    state = torch.load(file, weights_only=True)
    assert state.keys() == net.state_dict().keys()
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


def test_real_backbone_gets_a_new_head(real_weights):
    file = real_weights / "mobilenet_v2_imagenet.pth"
    net = build_model("torchvision/mobilenet_v2", 2, weights=file, freeze_backbone=True)
    state = torch.load(file, weights_only=True)
    new = {key for key, value in net.state_dict().items() if value.shape != state[key].shape}
    assert new == {"classifier.1.weight", "classifier.1.bias"}
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items() if key not in new)
    assert {name for name, parameter in net.named_parameters() if parameter.requires_grad} == new


def test_real_weights_of_another_architecture_are_refused(real_weights):
    file = real_weights / "squeezenet1_1_imagenet.pth"
    with pytest.raises(ValueError, match=r"do not fit torchvision/mobilenet_v2.*missing.*unexpected.*of another shape"):
        build_model("torchvision/mobilenet_v2", 1000, weights=file)


def test_prefix_that_the_network_itself_has_is_kept(tmp_path):
    from livecam.models.weights import load_state

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(2, 3)

    given, net = Wrapped(), Wrapped()
    load_state(net, dict(given.state_dict()), set(), "file", "wrapped")
    assert torch.equal(net.net.weight, given.net.weight)
