"""What a dry run finds in networks of every build, and when it must not be remembered."""

import gc
import weakref

import pytest
import torch
from helpers.toys import DeepTail, GapNet, NormTail, build, pictures
from torch import nn

from livecam.explain import CAM, GradCAM, explain, structure_of


def test_a_plain_net():
    structure = structure_of(build(GapNet), pictures())
    assert (structure.target_layer, structure.linear, structure.post_relu) == ("last", "fc", False)
    assert structure.layers == ("stem", "norm", "first", "conv", "last", "drop", "fc")
    order = [structure.finished[name] for name in ("stem", "norm", "first", "conv", "last", "drop", "fc")]
    assert order == sorted(order)


def test_stages_are_inputs_of_reducing_layers_but_never_the_image():
    structure = structure_of(build(DeepTail), pictures(1, (32, 40)))
    assert [(stage.layer, stage.size) for stage in structure.stages] == [("conv", (16, 20))]
    assert structure.stages[0].started < structure.finished["conv"]


def test_unpadded_convolutions_and_squeeze_layers_are_no_stages():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Conv2d(4, 4, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(4, 4, 1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )
    assert structure_of(build(lambda: net), pictures()).stages == ()


class ChannelsLast(nn.Module):
    """A block as in ConvNeXt: Linear layers between two permutations."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.wide, self.narrow = nn.Linear(8, 32), nn.Linear(32, 8)
        self.down = nn.Conv2d(8, 8, 2, stride=2)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.narrow(self.wide(self.stem(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        return self.head(self.down(x).mean((2, 3)))


def test_a_shrinking_channel_dimension_is_no_stage():
    structure = structure_of(build(ChannelsLast), pictures())
    assert [(stage.layer, stage.size) for stage in structure.stages] == [("down", (24, 24))]


def sequential(*layers):
    return build(nn.Sequential, nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), *layers)


class Squared(nn.Linear):
    def forward(self, x):
        return super().forward(x) ** 2


POOLED = nn.AdaptiveAvgPool2d(1), nn.Flatten()


@pytest.mark.parametrize(
    ("net", "target", "linear"),
    [
        (lambda: sequential(*POOLED, nn.Linear(8, 3)), "1", "4"),
        (lambda: sequential(nn.Dropout2d(), *POOLED, nn.Linear(8, 3)), "1", "5"),
        (lambda: sequential(nn.MaxPool2d(2), *POOLED, nn.Linear(8, 3)), "1", None),
        (lambda: sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 3)), "1", None),
        (lambda: sequential(nn.Flatten(), nn.Linear(8 * 121, 3)), "1", None),
        (lambda: sequential(*POOLED, nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)), "1", None),
        (lambda: sequential(*POOLED, nn.Linear(8, 3), nn.Softmax(1)), "1", None),
        (lambda: sequential(*POOLED, Squared(8, 3)), "1", None),
        (lambda: sequential(nn.Conv2d(8, 3, 1), *POOLED), "2", None),
        (lambda: nn.Sequential(sequential(), *POOLED, nn.Linear(8, 3)), "0", "3"),
        (lambda: build(NormTail, True), "norm", "fc"),
        (lambda: build(NormTail, False), "norm", None),
    ],
    ids=[
        "gap",
        "dropout",
        "pool",
        "gmp",
        "flatten",
        "mlp",
        "softmax",
        "sub-class",
        "conv head",
        "nested",
        "in place",
        "functional",
    ],
)
def test_target_layer_and_head(net, target, linear):
    structure = structure_of(net().eval(), pictures())
    assert (structure.target_layer, structure.linear) == (target, linear)


@pytest.mark.parametrize(
    ("net", "explainer", "sentence"),
    [
        (lambda: sequential(nn.Flatten(), nn.Linear(8 * 121, 3)), CAM(), "GAP.linear.*built otherwise. Use Grad-CAM"),
        (lambda: build(GapNet), CAM(layer="conv"), "GAP.linear.*reads 'last', not 'conv'. Use Grad-CAM"),
    ],
)
def test_cam_on_the_wrong_net_or_layer(net, explainer, sentence):
    with pytest.raises(ValueError, match=sentence):
        explain(net(), pictures(), [explainer])


class Tokens(nn.Module):
    """A patch embedding and token mixing, as in a vision transformer."""

    def __init__(self):
        super().__init__()
        self.patches, self.mix, self.head = nn.Conv2d(3, 8, 6, stride=6), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.mix(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


def test_a_net_without_feature_maps_asks_for_a_layer():
    net = build(Tokens)
    with pytest.raises(ValueError, match="no default target layer: name one with layer="):
        explain(net, pictures(), [GradCAM()])
    assert explain(net, pictures(), [GradCAM(layer="patches")])["gradcam"].raw.shape == (2, 4, 4)
    with pytest.raises(ValueError, match=r"Layer 'mix' has \(2, 16, 8\) as its output.*convolutional layer"):
        explain(net, pictures(), [GradCAM(layer="mix")])


def test_structures_are_remembered_per_model_and_size():
    net, runs = build(GapNet), []
    net.register_forward_hook(lambda *_: runs.append(1))
    first = structure_of(net, pictures())
    assert structure_of(net, pictures(5, seed=3)) is first and len(runs) == 1
    assert structure_of(net, pictures(1, (30, 30))) is not first and len(runs) == 2
    for size in range(20, 40):
        structure_of(net, pictures(1, (size, size)))
    count = len(runs)
    structure_of(net, pictures(1, (39, 39)))
    assert len(runs) == count


def test_a_swapped_head_is_noticed():
    net, images = build(GapNet), pictures()
    explain(net, images, [CAM()])
    net.fc = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 4))
    assert structure_of(net, images).linear is None
    net.fc = nn.Linear(8, 2)
    assert structure_of(net, images).linear == "fc"
    expected = torch.einsum("k,nkhw->nhw", net.fc.weight[1], net.features(images)).detach()
    torch.testing.assert_close(explain(net, images, [CAM()], 1)["cam"].raw, expected)


def test_a_new_head_at_the_old_ones_address_is_noticed():
    net, images = build(GapNet), pictures()
    for _ in range(50):
        assert structure_of(net, images).linear == "fc"
        address = id(net.fc)
        del net.fc
        head = Squared(8, 4)
        if id(head) == address:
            break
        net.fc = nn.Linear(8, 4)
    else:
        pytest.skip("this interpreter did not use an address twice")
    net.fc = head
    with pytest.raises(ValueError, match=r"GAP\+linear"):
        explain(net, images, [CAM()])


def test_the_cache_keeps_no_model_alive():
    net = build(GapNet)
    explain(net, pictures(), [GradCAM()])
    alive = weakref.ref(net), weakref.ref(net.fc)
    del net
    gc.collect()
    assert [one() for one in alive] == [None, None]
