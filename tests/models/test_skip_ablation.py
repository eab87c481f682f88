from copy import deepcopy

import pytest
import torch

from livecam.models import ClassicUNet, SmpUNet, sliced_state

SMALL = (16, 16, 8, 8, 8)
NETS = {
    "classic": (lambda **kw: ClassicUNet(3, width=4, depth=3, **kw)),
    "classic_bilinear": (lambda **kw: ClassicUNet(3, width=4, depth=3, upsample="bilinear", **kw)),
    "resnet18": (lambda **kw: SmpUNet("resnet18", 3, decoder_channels=SMALL, **kw)),
    "vgg11": (lambda **kw: SmpUNet("vgg11", 3, decoder_channels=SMALL, **kw)),
    "mobilenet_v2": (lambda **kw: SmpUNet("mobilenet_v2", 3, decoder_channels=SMALL, **kw)),
}
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


# smp builds the 128 M parameters of VGG's classifier only to delete them.
@pytest.fixture(scope="module", params=[pytest.param(n, marks=pytest.mark.slow) if n == "vgg11" else n for n in NETS])
def trio(request):
    """The three modes from one seed, and the random state that each leaves behind."""
    nets, states = {}, []
    for skips in ("concat", "drop", "zero"):
        torch.manual_seed(3)
        nets[skips] = NETS[request.param](skips=skips).eval()
        states.append(torch.get_rng_state())
    return nets, states


def first_convs(net):
    return [(block.up_channels, block.convs[0].weight) for block in net.decoder.blocks]


def worn(net):
    """A copy whose weights and batch-norm statistics have moved, as after training."""
    net = deepcopy(net)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for value in net.state_dict().values():
            if value.is_floating_point():
                value.mul_(0.7 + 0.6 * torch.rand(value.shape, generator=generator))
    return net


def test_same_seed_gives_equal_twins(trio):
    nets, random_states = trio
    concat, drop, zero = (net.state_dict() for net in nets.values())
    assert all(torch.equal(state, random_states[0]) for state in random_states)
    assert concat.keys() == zero.keys()
    assert all(torch.equal(concat[key], zero[key]) for key in concat)
    assert {key for key in concat if key not in drop} == {key for key in concat if key.startswith("stem.")}
    narrowed = 0
    for key, value in drop.items():
        assert torch.equal(value, concat[key][:, : value.shape[1]] if value.ndim == 4 else concat[key])
        narrowed += value.shape != concat[key].shape
    assert narrowed == len(nets["drop"].decoder.blocks)


def test_sliced_zero_net_equals_the_drop_net(trio):
    nets, _ = trio
    with torch.no_grad():
        torch.testing.assert_close(nets["drop"](IMAGES), nets["zero"](IMAGES), atol=1e-6, rtol=0)
        trained, twin = worn(nets["zero"]), deepcopy(nets["drop"])
        expected = trained(IMAGES)
        assert (twin(IMAGES) - expected).abs().max() > 1e-3
        twin.load_state_dict(sliced_state(trained.state_dict(), twin))
        torch.testing.assert_close(twin(IMAGES), expected, atol=1e-6, rtol=0)


def test_skips_matter(trio):
    nets, _ = trio
    with torch.no_grad():
        assert (nets["concat"](IMAGES) - nets["zero"](IMAGES)).abs().max() > 1e-3


def test_parameters_removed_are_those_of_the_skips(trio):
    nets, _ = trio
    count = {skips: sum(parameter.numel() for parameter in net.parameters()) for skips, net in nets.items()}
    removed = sum(
        (weight.shape[1] - up) * weight.shape[0] * 9
        for up, weight in first_convs(nets["concat"])
        if weight.shape[1] > up
    )
    if getattr(nets["concat"], "stem", None) is not None:
        removed += 3 * 32 * 9 + 32 * 32 * 9 + 4 * 32
    assert count["zero"] == count["concat"]
    assert count["concat"] - count["drop"] == removed


@pytest.mark.parametrize("skips", ["concat", "drop", "zero"])
def test_every_trainable_parameter_gets_a_gradient(trio, skips):
    net = deepcopy(trio[0][skips]).train()
    net(IMAGES).square().sum().backward()
    idle = [name for name, parameter in net.named_parameters() if parameter.requires_grad and parameter.grad is None]
    frozen = {name.split(".")[0] for name, parameter in net.named_parameters() if not parameter.requires_grad}
    assert idle == []
    assert frozen == ({"stem"} if skips == "zero" and getattr(net, "stem", None) is not None else set())


def test_zeroed_skips_have_dead_weights(trio):
    nets, _ = trio
    net = deepcopy(nets["zero"])
    net(IMAGES).square().sum().backward()
    for up, weight in first_convs(net):
        assert weight.shape[1] > up
        assert not weight.grad[:, up:].any()
        assert weight.grad[:, :up].any()


def test_only_skips_lead_around_the_bottleneck(trio):
    nets, _ = trio
    for skips, net in nets.items():
        seen = {}
        handles = [
            net.bottleneck.register_forward_hook(lambda module, args, output: output.detach()),
            net.decoder.register_forward_hook(lambda module, args, output, seen=seen: seen.update(map=output)),
        ]
        images = IMAGES.clone().requires_grad_()
        net(images)
        for handle in handles:
            handle.remove()
        pixel = seen["map"][0, :, 20, 30].sum()
        (gradient,) = torch.autograd.grad(pixel, images, allow_unused=True)
        if skips == "concat":
            assert gradient[0, :, 20, 30].abs().sum() > 0
        else:
            assert gradient is None


@pytest.mark.parametrize("finest", ["image", "none"])
def test_other_full_resolution_skips_ablate_too(finest):
    nets = {}
    for skips in ("zero", "drop"):
        torch.manual_seed(0)
        nets[skips] = SmpUNet("resnet18", 3, skips=skips, full_res_skip=finest, decoder_channels=SMALL).eval()
    with torch.no_grad():
        torch.testing.assert_close(nets["drop"](IMAGES), nets["zero"](IMAGES), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("encoder", "depth"), [("efficientnet-b0", 5), ("resnet18", 3)])
def test_layers_that_an_encoder_leaves_unused_are_frozen(encoder, depth):
    net = SmpUNet(encoder, 3, decoder_channels=SMALL[:depth])
    net(IMAGES).square().sum().backward()
    idle = {name for name, parameter in net.named_parameters() if parameter.grad is None}
    frozen = {name for name, parameter in net.named_parameters() if not parameter.requires_grad}
    assert idle == frozen
    assert frozen
