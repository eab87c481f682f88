import pytest
import torch
from helpers.toys import DeepTail, GapNet, Given, NormTail, StagedNet, build, pictures
from torch import nn

from livecam.explain.feature_maps import feature_captures, feature_maps, strongest_channels
from livecam.explain.recording.network_structure import structure_of


def test_strongest_channels_by_hand():
    activations = torch.zeros(2, 5, 1, 2)
    activations[0, :, 0] = torch.tensor([[1, 1], [0, 6], [-9, 4], [2, 2], [0, 0]])
    # What is negative does not count: channel 2 of the first image has 4 / 2, just as channel 3.
    activations[1, 4, 0] = torch.tensor([0.5, -100])
    assert strongest_channels(activations, 4).tolist() == [[1, 2, 3, 0], [4, 0, 1, 2]]
    assert strongest_channels(activations, 99).shape == (2, 5)


def test_the_picked_maps_are_the_layers_own_values():
    net = Given(torch.eye(3))
    images = torch.tensor([[1.0, 2.0, 3.0], [3.0, 1.0, -2.0]])[:, :, None, None] * torch.ones(2, 3, 4, 5)
    found = feature_maps(net, images, ["same"], strongest=2)
    (layer,) = found.layers
    assert (layer.layer, layer.size, layer.signed) == ("same", (3, 4, 5), True)
    assert layer.channels.tolist() == [[2, 1], [0, 1]]
    assert torch.equal(layer.maps[0], images[0, [2, 1]]) and torch.equal(layer.maps[1], images[1, [0, 1]])
    assert found.predicted.tolist() == found.target.tolist() == [2, 0]
    # By hand: logits are the channels' means.
    expected = torch.stack([images[0, :, 0, 0].softmax(0)[2], images[1, :, 0, 0].softmax(0)[0]])
    torch.testing.assert_close(found.probability, expected)


def test_chosen_channels_keep_their_order():
    net, images = build(GapNet), pictures(3)
    layers = feature_maps(net, images, ["first", "last"], [5, 0]).layers
    with torch.no_grad():
        first = net.first(net.norm(net.stem(images)))
    assert layers[0].channels.tolist() == layers[1].channels.tolist() == [[5, 0]] * 3
    assert torch.equal(layers[0].maps, first[:, [5, 0]]) and not layers[0].signed


def test_by_default_every_resolution_and_the_target_layer():
    net, images = build(StagedNet), pictures(2)
    stage, target = feature_maps(net, images, strongest=3).layers
    with torch.no_grad():
        before = net.first(net.norm(net.stem(images)))
        last = net.last(net.conv(net.pool(before)))
    assert (stage.layer, stage.size) == ("input of pool", (6, 24, 24))
    assert (target.layer, target.size) == ("last", (8, 12, 12))
    for layer, whole in ((stage, before), (target, last)):
        order = whole.mean((2, 3)).argsort(dim=1, descending=True, stable=True)[:, :3]
        assert torch.equal(layer.channels, order)
        assert torch.equal(layer.maps, torch.stack([image[row] for image, row in zip(whole, order)]))


def test_what_in_place_layers_overwrite_is_kept():
    images = pictures(2)
    plain, inplace = (feature_maps(build(StagedNet, inplace=way), images, ["norm", "last"]) for way in (False, True))
    assert all(torch.equal(a.maps, b.maps) for a, b in zip(plain.layers, inplace.layers))
    assert plain.layers[0].signed
    (target,) = feature_maps(build(NormTail, True), images).layers
    assert target.layer == "norm" and not target.signed
    assert not feature_maps(build(NormTail, True), images, ["norm"]).layers[0].signed


def test_pooling_of_the_target_layer_is_no_stage_of_its_own():
    net = build(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AvgPool2d(3), nn.Flatten(), nn.Linear(196, 2)))
    assert [layer.layer for layer in feature_maps(net, pictures(1, (23, 23))).layers] == ["1"]


def test_one_forward_serves_all_layers_and_leaves_no_trace():
    net, images = build(DeepTail).train(), pictures(2)
    structure_of(net, images)
    calls = []
    handle = net.stem.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    weights = [parameter.clone() for parameter in net.parameters()]
    feature_maps(net, images, ["stem", "early", "conv", "last"])
    handle.remove()
    assert calls == [False]
    assert net.training and not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert all(torch.equal(a, b) and a.grad is None for a, b in zip(net.parameters(), weights))


def test_a_layer_that_is_named_twice_is_shown_once():
    net = build(lambda: nn.Sequential(GapNet(), nn.Identity()))
    assert [c.layer for c in feature_captures(structure_of(net, pictures()), ["last", "0.last"])] == ["0.last"]


class Tokens(nn.Module):
    """A transformer's outline: patches become tokens, which no map is made of."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 4, 8, stride=8)
        self.norm = nn.LayerNorm(4)
        self.fc = nn.Linear(4, 2)

    def forward(self, images):
        return self.fc(self.norm(self.embed(images).flatten(2).mT).mean(1))


@pytest.mark.parametrize(
    ("choice", "kind", "sentence"),
    [
        ({"layers": ["lst"]}, KeyError, "Did you mean last"),
        ({"layers": ["fc"]}, ValueError, "Layer 'fc' has"),
        ({"layers": []}, ValueError, "name at least one"),
        ({"layers": ["stem"], "channels": [0, 6]}, ValueError, "Layer 'stem' has 6 channels, 0 to 5: .* no channel 6"),
        ({"channels": [-1]}, ValueError, "counted from 0"),
        ({"channels": [1, 1]}, ValueError, "each once"),
        ({"channels": []}, ValueError, "at least one"),
        ({"strongest": 0}, ValueError, "strongest is a whole number from 1"),
    ],
)
def test_choices_that_fit_nothing(choice, kind, sentence):
    with pytest.raises(kind, match=sentence):
        feature_maps(build(GapNet), pictures(), **choice)


def test_a_network_without_feature_maps_asks_for_names():
    net, images = build(Tokens), pictures()
    with pytest.raises(ValueError, match="name layers"):
        feature_maps(net, images)
    assert feature_maps(net, images, ["embed"]).layers[0].size == (4, 3, 3)
