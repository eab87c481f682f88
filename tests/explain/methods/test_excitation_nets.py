"""Excitation Backprop through whole networks: probability is conserved, defaults name sensible layers."""

import pytest
import torch
import torchvision
from helpers.toys import DeepTail, StagedNet, build, pictures
from torch import nn

from livecam.explain import ContrastiveExcitationBackprop, ExcitationBackprop, explain, structure_of
from livecam.models.build import build_model


def stirred(net):
    """Batch norm as training leaves it, negative scales included."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, -0.3, 1.5),
                (module.bias, -0.2, 0.2),
                (module.running_mean, -0.1, 0.1),
                (module.running_var, 0.5, 2.0),
            ):
                tensor.data.uniform_(low, high, generator=generator)
    return net.eval()


def mass_of(net, images, **options):
    explainers = [ExcitationBackprop(**options), ContrastiveExcitationBackprop(**options)]
    found = explain(net, images, explainers, 1)
    difference = found["contrastive_excitation_backprop"].details["unclamped"]
    return found["excitation_backprop"], difference


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layer", "options"),
    [
        ("vgg11", "features.14", {}),
        ("resnet18", "layer3", {}),
        ("resnet50", "layer3", {}),
        ("googlenet", "inception4e", {}),
        ("squeezenet1_1", "features.7", {}),
        ("densenet121", "features.transition3.relu", {"clamp_negative": True}),
    ],
)
def test_torchvision(name, layer, options, slim_vgg):
    extra = {"aux_logits": True, "init_weights": False} if name == "googlenet" else {}
    made = (
        build(slim_vgg, name) if name == "vgg11" else build(torchvision.models.get_model, name, weights=None, **extra)
    )
    net = stirred(made).double()
    images = pictures(2, (96, 96)).double()
    assert structure_of(net, images).excitation_layer == layer
    found, difference = mass_of(net, images, **options)
    torch.testing.assert_close(found.details["mass"], torch.ones(2).double(), rtol=1e-5, atol=0)
    torch.testing.assert_close(found.raw.sum((1, 2)), torch.ones(2).double(), rtol=1e-5, atol=0)
    assert difference.sum((1, 2)).abs().max() < 1e-9 and difference.abs().max() > 1e-7


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm/resnet18", "timm/resnet26d", "timm/seresnet18", "timm/vgg11_bn"])
def test_timm(name):
    # VGG's classifier is narrower than its authors', which is most of its weights and nothing of the rule.
    net = stirred(build(build_model, name, 4, **({"mlp_ratio": 1 / 64} if "vgg" in name else {})))
    found, difference = mass_of(net, pictures(2, (64, 64)))
    torch.testing.assert_close(found.details["mass"], torch.ones(2), rtol=1e-3, atol=0)
    assert difference.any()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "convnext_tiny", "efficientnet_b0"])
def test_signed_activations_are_refused(name):
    with pytest.raises(ValueError, match="signed activations"):
        mass_of(build(torchvision.models.get_model, name, weights=None), pictures(1, (64, 64)))


SMALL = {"unet": {"width": 8, "depth": 2}, "unet/resnet18": {}}


@pytest.mark.parametrize("skips", ["concat", "drop", "zero"])
@pytest.mark.parametrize("name", ["unet", pytest.param("unet/resnet18", marks=pytest.mark.slow)])
def test_u_nets_with_and_without_skips(name, skips):
    net, images = stirred(build(build_model, name, 4, skips=skips, **SMALL[name])), pictures(2, (64, 64))
    at_image = explain(net, images, [ExcitationBackprop(layer="image")], 1)["excitation_backprop"]
    torch.testing.assert_close(at_image.details["mass"], torch.ones(2), rtol=1e-4, atol=0)
    deep = explain(net, images, [ExcitationBackprop("bottleneck")], 1)["excitation_backprop"].details["mass"]
    if skips == "concat":
        # Most evidence takes the skips.
        assert (deep < 0.5).all() and (deep > 0).all()
    else:
        torch.testing.assert_close(deep, torch.ones(2), rtol=1e-4, atol=0)


def test_the_classic_u_nets_first_features_get_all_of_it():
    net, images = stirred(build(build_model, "unet", 4, **SMALL["unet"])), pictures(2, (64, 64))
    assert structure_of(net, images).excitation_layer == "encoder.0"
    found, difference = mass_of(net, images)
    assert found.raw.shape == (2, 64, 64)
    torch.testing.assert_close(found.details["mass"], torch.ones(2), rtol=1e-4, atol=0)
    assert difference.sum((1, 2)).abs().max() < 1e-4


class Wrapper(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        return self.net(images)


def test_wrappers_and_compiled_networks_are_read_at_the_same_layer():
    net, images = build(StagedNet), pictures()
    expected = mass_of(net, images)[0].raw
    for wrap in (Wrapper, lambda n: Wrapper(Wrapper(n)), lambda n: Wrapper(torch.compile(n, backend="eager"))):
        wrapped = wrap(net)
        assert structure_of(wrapped, images).excitation_layer.endswith("net.first")
        torch.testing.assert_close(mass_of(wrapped, images)[0].raw, expected)


def test_half_precision_networks_are_summed_in_full():
    found, _ = mass_of(build(StagedNet).bfloat16(), pictures())
    assert found.raw.dtype == found.details["mass"].dtype == torch.float32
    torch.testing.assert_close(found.details["mass"], torch.ones(2), rtol=0.05, atol=0)


class Scaled(StagedNet):
    """A sum whose second branch is scaled by torch itself."""

    def features(self, images):
        first = self.first(self.norm(self.stem(images)))
        return torch.add(first, first, alpha=0.5)


def test_a_scaled_sum_is_refused_rather_than_computed_wrongly():
    net = build(Scaled)
    net.fc = nn.Linear(6, 4)
    with pytest.raises(ValueError, match="no rule for 'add'"):
        mass_of(net, pictures(), layer="first")


def test_a_network_behind_its_own_normalization_is_read_inside():
    net, images = build(StagedNet), pictures()
    both = nn.Sequential(nn.InstanceNorm2d(3), net)
    assert structure_of(both, images).excitation_layer == "1.first"


class TwoHeads(StagedNet):
    def __init__(self, classes=4):
        super().__init__(classes)
        self.other = nn.Linear(8, classes)

    def forward(self, images):
        pooled = self.features(images).mean((2, 3))
        return (self.fc(pooled) + self.other(pooled)) / 2


@pytest.mark.parametrize("cls", [ExcitationBackprop, ContrastiveExcitationBackprop])
def test_several_last_layers_are_refused_by_name(cls):
    with pytest.raises(ValueError, match="2 add up to this network's score: fc, other"):
        explain(build(TwoHeads), pictures(), [cls()])


class Context(StagedNet):
    """Adds to every position what the whole map has on average, by broadcasting or spelt out."""

    spelt_out = False

    def features(self, images):
        features = super().features(images)
        context = features.mean((2, 3), keepdim=True)
        return features + (context.expand_as(features) if self.spelt_out else context)


def test_a_branch_that_is_broadcast_gets_its_share():
    net, images = build(Context), pictures()
    found = mass_of(net, images)[0]
    net.spelt_out = True
    expected = mass_of(net, images)[0]
    torch.testing.assert_close(found.raw, expected.raw)
    torch.testing.assert_close(found.details["mass"], torch.ones(2))


class Placed(StagedNet):
    """Adds a learnt value to every position."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.rand(1, 8, 12, 12))

    def features(self, images):
        return super().features(images) + self.place


def test_a_learnt_constant_is_no_branch_whatever_the_batch():
    net, images = build(Placed), pictures()
    both, alone = (
        mass_of(net, images)[0],
        mass_of(
            net,
            images[:1],
        )[0],
    )
    torch.testing.assert_close(both.raw[:1], alone.raw)
    torch.testing.assert_close(both.details["mass"], torch.ones(2))


def test_default_layers():
    assert structure_of(build(StagedNet), pictures()).excitation_layer == "first"
    # Nothing finer than the default layer but the image: the first feature map that is made coarser, else that layer.
    assert structure_of(build(DeepTail), pictures()).excitation_layer == "early"
