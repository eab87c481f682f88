"""What a recording keeps and what can be asked of it afterwards."""

import random
from collections import namedtuple

import numpy as np
import pytest
import torch
from helpers.toys import DeepTail, GapNet, build, pictures
from torch import nn

from livecam.core.errors import UnsupportedNetworkError
from livecam.explain import Capture, GradCAM, explain, record, structure_of
from livecam.explain.recording.hooks import merge


def test_several_layers_come_with_one_forward_and_one_backward(monkeypatch):
    net, images = build(DeepTail), pictures(3)
    structure = structure_of(net, images)
    runs, backward = [], torch.autograd.grad
    net.register_forward_hook(lambda *_: runs.append("forward"))
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: runs.append("backward") or backward(*a, **k))
    captures = [Capture(layer, gradient=True) for layer in ("stem", "early", "conv", "last")]
    targets = torch.tensor([0, 3, 1])
    recording = record(net, images, targets, captures, structure=structure, input_gradient=True)
    assert runs == ["forward", "backward"]
    # Oracle: autograd over the whole net, layer by layer.
    x = images.clone().requires_grad_(True)
    stem = net.stem(x)
    early = net.early(stem)
    conv = net.conv(early)
    last = net.last(conv)
    score = net.fc(last.mean((2, 3)))[torch.arange(3), targets].sum()
    *expected, pixels = backward(score, [stem, early, conv, last, x])
    for capture, gradient, value in zip(captures, expected, (stem, early, conv, last)):
        torch.testing.assert_close(recording.gradients[capture], gradient)
        torch.testing.assert_close(recording.activations[capture], value.detach())
    torch.testing.assert_close(recording.input_gradient, pixels)
    assert torch.equal(recording.targets, targets) and torch.equal(recording.images, images)
    assert not recording.logits.requires_grad and not recording.images.requires_grad


@pytest.mark.parametrize("input_gradient", [False, True])
def test_images_that_belong_to_a_graph_are_left_out_of_ours(input_gradient):
    images = pictures().requires_grad_(True)
    recording = record(build(GapNet), images * 1, 0, [Capture("conv", gradient=True)], input_gradient=input_gradient)
    assert not recording.images.requires_grad and images.grad is None
    assert (recording.input_gradient is None) != input_gradient


def test_inputs_and_channel_means():
    net, images = build(GapNet), pictures()
    captures = [Capture("conv", at="input"), Capture("conv", reduce="channel_mean"), Capture("last")]
    recording = record(net, images, captures=captures)
    with torch.no_grad():
        before = net.first(net.norm(net.stem(images)))
        after = net.conv(before)
    torch.testing.assert_close(recording.activations[captures[0]], before)
    torch.testing.assert_close(recording.activations[captures[1]], after.mean(1, keepdim=True))
    torch.testing.assert_close(recording.activations[captures[2]], after.relu())
    assert recording.gradients == {} and recording.input_gradient is None


def test_gradient_at_a_layers_input_is_that_of_its_source():
    net, images = build(GapNet), pictures()
    a, b = Capture("conv", at="input", gradient=True), Capture("first", gradient=True)
    recording = record(net, images, 0, [a, b])
    torch.testing.assert_close(recording.gradients[a], recording.gradients[b])
    torch.testing.assert_close(recording.activations[a], recording.activations[b])


def test_equal_captures_are_kept_once_with_the_gradient_that_anyone_asked_for():
    plain, wanted = Capture("conv"), Capture("conv", gradient=True)
    assert plain == wanted and hash(plain) == hash(wanted)
    kept = merge([plain, wanted, Capture("conv", post_relu=True), Capture("last"), plain])
    assert [(c.layer, c.gradient, c.post_relu) for c in kept] == [
        ("conv", True, False),
        ("last", False, False),
        ("conv", False, True),
    ]
    recording = record(build(GapNet), pictures(), captures=[plain, wanted, plain])
    assert list(recording.activations) == [plain] and list(recording.gradients) == [plain]


@pytest.mark.parametrize(
    "wrong", [{"at": "inputs"}, {"reduce": "mean"}, {"gradient": True, "reduce": "channel_mean"}], ids=str
)
def test_captures_that_mean_nothing(wrong):
    with pytest.raises(ValueError, match=r"Capture has|Channel means have no gradient"):
        Capture("conv", **wrong)


class Beside(GapNet):
    """``aside`` runs but feeds nothing; ``unused`` never runs."""

    def __init__(self):
        super().__init__()
        self.aside, self.unused = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)

    def forward(self, images):
        self.aside(images)
        return super().forward(images)


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        ("aside", "Layer 'aside' does not feed the class score.*choose another"),
        ("unused", "Layer 'unused' takes no part in the model's forward"),
        ("fc", r"Layer 'fc' has \(2, 4\) as its output, but a map needs \(N, C, h, w\)"),
    ],
)
def test_layers_that_cannot_be_explained(layer, sentence):
    with pytest.raises(ValueError, match=sentence):
        explain(build(Beside), pictures(), [GradCAM(layer=layer), GradCAM(name="good")])


def test_score_and_probability_of_further_inputs():
    net, images, more = build(GapNet), pictures(3), pictures(4, seed=7)
    recording = record(net, images, torch.tensor([2, 0, 1]))
    sample_index = torch.tensor([1, 1, 0, 2])
    logits = net(more)
    wanted = torch.tensor([0, 0, 2, 1])
    torch.testing.assert_close(recording.score(more, sample_index), logits[torch.arange(4), wanted])
    torch.testing.assert_close(recording.probability(more, sample_index), logits.softmax(1)[torch.arange(4), wanted])
    leaf = more.clone().requires_grad_(True)
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(recording.score(leaf, sample_index).sum(), leaf)
    expected = record(net, more, wanted, input_gradient=True).input_gradient
    torch.testing.assert_close(slope, expected)
    with torch.no_grad():
        assert not recording.score(more, sample_index).requires_grad


def test_again_records_other_inputs_of_the_same_samples():
    net, more = build(DeepTail), pictures(4, seed=9)
    recording = record(net, pictures(2), torch.tensor([3, 1]))
    capture, sample_index = Capture("early", gradient=True), torch.tensor([0, 0, 1, 1])
    again = recording.rerun(more, sample_index, [capture], input_gradient=True)
    fresh = record(net, more, torch.tensor([3, 3, 1, 1]), [capture], input_gradient=True)
    assert again.targets.tolist() == [3, 3, 1, 1]
    torch.testing.assert_close(again.gradients[capture], fresh.gradients[capture])
    torch.testing.assert_close(again.input_gradient, fresh.input_gradient)
    torch.testing.assert_close(again.logits, net(more).detach())


class NegatedRelu(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        return -result if func is torch.nn.functional.relu else result


def test_again_enters_its_context_around_the_pass_only():
    net, images = build(DeepTail), pictures()
    recording = record(net, images, 0, [Capture("last")])
    again = recording.rerun(images, torch.tensor([0, 1]), [Capture("last")], context=NegatedRelu())
    assert recording.activations[Capture("last")].min() >= 0 > again.activations[Capture("last")].min()
    torch.testing.assert_close(record(net, images, 0).logits, recording.logits)


Output = namedtuple("Output", "logits aux")


class Wraps(nn.Module):
    def __init__(self, pack):
        super().__init__()
        self.net, self.pack = build(GapNet), pack

    def forward(self, images):
        return self.pack(self.net(images))


@pytest.mark.parametrize(
    "pack", [lambda z: (z, 1), lambda z: [z], lambda z: {"out": z}, lambda z: Output(z, None)], ids=range(4)
)
def test_outputs_in_wrappings(pack):
    images = pictures()
    found, plain = explain(Wraps(pack), images, [GradCAM()]), explain(build(GapNet), images, [GradCAM()])
    torch.testing.assert_close(found["gradcam"].raw, plain["gradcam"].raw)


def test_outputs_that_are_no_logits():
    with pytest.raises(ValueError, match=r"Logits have the shape \(N, K\)"):
        explain(Wraps(lambda z: z[:, :, None, None]), pictures(), [GradCAM()])
    with pytest.raises(UnsupportedNetworkError, match="returned no logits"):
        explain(Wraps(lambda z: None), pictures(), [GradCAM()])


def test_one_flat_logit_per_image_is_a_binary_head():
    net, images = build(GapNet, classes=1), pictures()
    wrapped = nn.Sequential(net, nn.Flatten(0))
    found, plain = explain(wrapped, images, [GradCAM()], 0), explain(net, images, [GradCAM()], 0)
    torch.testing.assert_close(found["gradcam"].raw, plain["gradcam"].raw)
    assert record(wrapped, images).head.name == "binary"


@pytest.mark.parametrize(
    ("targets", "sentence"),
    [
        (4, "Target class 4 is out of range.*4 classes, 0 to 3"),
        (torch.tensor([0, -1]), "Target class -1 is out of range"),
        (torch.tensor([0]), r"one class index per image: 2 images, shape \(1,\)"),
        (torch.zeros(2, 4), "one class index per image"),
    ],
    ids=str,
)
def test_wrong_targets_are_refused_before_any_map(targets, sentence, monkeypatch):
    monkeypatch.setattr(GradCAM, "explain", lambda *_: pytest.fail("a map was made"))
    with pytest.raises(ValueError, match=sentence):
        explain(build(GapNet), pictures(), [GradCAM()], targets)


@pytest.mark.parametrize("targets", [1, [1, 1], torch.tensor(1), torch.tensor([1, 1]), torch.tensor([1, 1]).int()])
def test_ways_to_name_a_target(targets):
    assert record(build(GapNet), pictures(), targets).targets.tolist() == [1, 1]


@pytest.mark.parametrize("images", [torch.zeros(3, 8, 8), torch.zeros(0, 3, 8, 8), torch.zeros(1, 1, 3, 8, 8)])
def test_images_that_are_no_batch(images):
    for call in (record, structure_of, lambda net, x: explain(net, x, [GradCAM()])):
        with pytest.raises(ValueError, match=r"Images must be a batch \(N, 3, H, W\)"):
            call(build(GapNet), images)


def test_multilabel_heads_are_told():
    net, images = build(GapNet), pictures()
    found = explain(net, images, [GradCAM()], 2, head="multilabel")["gradcam"]
    torch.testing.assert_close(found.probability, net(images)[:, 2].sigmoid().detach())
    torch.testing.assert_close(found.raw, explain(net, images, [GradCAM()], 2)["gradcam"].raw)


def test_a_network_that_draws_takes_nothing_from_the_random_states():
    """Dropout that stays on in eval mode, noise by numpy: the training around draws what it would have drawn."""

    class Drawing(GapNet):
        def forward(self, images):
            noise = torch.full((len(images), 1), np.random.rand() + random.random())
            return nn.functional.dropout(super().forward(images), 0.5, training=True) + noise

    net, images = build(Drawing), pictures()
    structure_of(net, images)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    for look in (lambda: record(net, images), lambda: explain(net, images, ["gradcam", "scorecam"])):
        look()
        assert torch.equal(states[0], torch.get_rng_state())
        assert states[1:] == (np.random.get_state()[1].tolist(), random.getstate())
