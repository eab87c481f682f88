"""The hook rule: the kept value is the layer's own, the gradient is with respect to it, nothing leaks."""

import pytest
import torch
import torchvision
from helpers.toys import DeepTail, FrozenBackbone, GapNet, NormTail, build, pictures
from torch import nn

from livecam.explain import CAM, Capture, GradCAM, explain, record


def by_hand(net, images, target, layer="conv"):
    """Value and gradient of a layer, by a graph over the whole net and hooks of the test's own."""
    kept = {}

    def hook(module, args, output):
        kept["own"] = output
        output.retain_grad()
        return output.clone()

    handle = net.get_submodule(layer).register_forward_hook(hook)
    with torch.enable_grad():
        net(images)[:, target].sum().backward()
    handle.remove()
    found = kept["own"].detach(), kept["own"].grad
    net.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("layer", ["conv", "last", "norm"])
def test_trap_1_an_in_place_relu_does_not_overwrite_what_was_kept(layer):
    net, images = build(GapNet, inplace=True), pictures()
    value, gradient = by_hand(build(GapNet), images, 2, layer)
    capture = Capture(layer, gradient=True)
    recording = record(net, images, 2, [capture])
    torch.testing.assert_close(recording.activations[capture], value)
    torch.testing.assert_close(recording.gradients[capture], gradient)
    if layer != "last":
        assert recording.activations[capture].min() < 0


def test_trap_1_also_for_layers_kept_without_gradient():
    net, images = build(GapNet, inplace=True), pictures()
    recording = record(net, images, captures=[Capture("conv"), Capture("first", at="input")])
    values = {capture.layer: value for capture, value in recording.activations.items()}
    assert values["conv"].min() < 0
    torch.testing.assert_close(values["conv"], by_hand(build(GapNet), images, 0, "conv")[0])
    torch.testing.assert_close(values["first"], by_hand(build(GapNet), images, 0, "norm")[0])


def test_traps_3_and_4_frozen_weights_in_inference_mode():
    net, images = build(GapNet), pictures()
    value, gradient = by_hand(net, images, 1)
    net.requires_grad_(False)
    with torch.inference_mode():
        recording = record(net, images.clone(), torch.tensor([1, 1]), [Capture("conv", gradient=True)])
    torch.testing.assert_close(recording.gradients[Capture("conv")], gradient)
    torch.testing.assert_close(recording.activations[Capture("conv")], value)
    assert not recording.logits.is_inference()


def test_trap_4_a_model_built_in_inference_mode_is_refused():
    with torch.inference_mode():
        net = build(GapNet)
    with pytest.raises(RuntimeError, match=r"created inside torch.inference_mode\(\).*build the model outside"):
        explain(net, pictures(), [GradCAM()])


def test_post_relu_reads_what_the_in_place_relu_left():
    images = pictures()
    net = build(NormTail, True)
    with torch.no_grad():
        pre = net.norm(net.conv(images))
        logits = net(images)
    after, before = Capture("norm", gradient=True, post_relu=True), Capture("norm", gradient=True)
    recording = record(net, images, 3, [after, before])
    torch.testing.assert_close(recording.logits, logits)
    torch.testing.assert_close(recording.activations[after], pre.relu())
    torch.testing.assert_close(recording.activations[before], pre)
    slope = (net.fc.weight[3] / pre[0, 0].numel()).detach()[None, :, None, None].expand_as(pre)
    torch.testing.assert_close(recording.gradients[after], slope)
    # With respect to the value before the ReLU, the gradient is masked: the two are different methods.
    torch.testing.assert_close(recording.gradients[before], slope * (pre > 0))


def test_densenet_reads_after_its_functional_relu():
    net, images = build(torchvision.models.densenet121, weights=None, num_classes=5), pictures(2, (64, 64))
    with torch.no_grad():
        pre = net.features(images)
    assert pre.min() < 0
    found = explain(net, images, [CAM(), GradCAM(), GradCAM(post_relu=False, name="pre")], 2)
    cam = torch.einsum("k,nkhw->nhw", net.classifier.weight[2].detach(), pre.relu())
    torch.testing.assert_close(found["cam"].raw, cam, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found["gradcam"].raw * 4, cam.relu(), atol=1e-6, rtol=1e-5)
    assert (found["pre"].map - found["gradcam"].map).abs().max() > 0.05
    named = explain(net, images, [GradCAM(layer="norm5", post_relu=True)], 2)["gradcam"]
    torch.testing.assert_close(named.raw, found["gradcam"].raw)


@pytest.mark.parametrize(("net", "layer"), [(NormTail, "norm"), (GapNet, "conv")])
def test_post_relu_without_an_in_place_relu_says_so(net, layer):
    net = build(net, inplace=False)
    with pytest.raises(ValueError, match=f"No in-place ReLU follows '{layer}': use post_relu=False"):
        explain(net, pictures(), [GradCAM(layer=layer, post_relu=True)])


class Spy(nn.Module):
    """Notes whether the tensors around it belong to a graph."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        y = x * 1
        self.seen.append((torch.is_grad_enabled(), y.requires_grad))
        return y


def spied(make, *args):
    net = build(make, *args)
    net.requires_grad_(True)
    spies = [Spy(), Spy()]
    net.first = nn.Sequential(net.first, spies[0])
    net.last = nn.Sequential(net.last, spies[1])
    return net, spies


def test_no_graph_is_built_before_the_layer():
    net, (early, late) = spied(GapNet)
    captures = [Capture("conv", gradient=True)]
    record(net, pictures(), captures=captures)  # the dry run is over
    early.seen.clear()
    late.seen.clear()
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(tuple(t.shape)) or t, lambda t: t):
        record(net, pictures(), captures=captures)
    assert early.seen == [(False, False)] and late.seen == [(True, True)]
    assert not any(shape[:2] in {(2, 6), (2, 3)} for shape in saved), "something before the layer was kept"
    assert any(shape[:2] == (2, 8) for shape in saved)


def test_no_gradient_asked_no_graph_at_all():
    net, (early, late) = spied(GapNet)
    explain(net, pictures(), [CAM()])
    assert {seen for spy in (early, late) for seen in spy.seen} == {(False, False)}


@pytest.mark.parametrize("layers", [["first"], ["conv"], ["first", "last"], ["stem", "conv"]], ids=str)
def test_a_model_with_its_own_no_grad(layers):
    images, captures = pictures(), [Capture(layer, gradient=True) for layer in layers]
    found = record(build(FrozenBackbone), images, 1, captures)
    plain = record(build(GapNet), images, 1, captures)
    for capture in captures:
        torch.testing.assert_close(found.gradients[capture], plain.gradients[capture])
        torch.testing.assert_close(found.activations[capture], plain.activations[capture])
        assert plain.gradients[capture].any()


def test_the_images_gradient_cannot_pass_a_no_grad():
    with pytest.raises(ValueError, match=r"no gradient with respect to the images.*requires_grad_\(False\) instead"):
        record(build(FrozenBackbone), pictures(), input_gradient=True)


class Shared(DeepTail):
    def forward(self, images):
        return self.tail(self.early(self.early(self.stem(images)) - 0.2))


def test_a_shared_module_warns_and_its_last_run_counts():
    net, images = build(Shared), pictures()
    with torch.no_grad():
        last = net.early(net.early(net.stem(images)) - 0.2)
    with pytest.warns(UserWarning, match="'early' runs several times per forward; its last run counts"):
        recording = record(net, images, 0, [Capture("early", gradient=True)])
    torch.testing.assert_close(recording.activations[Capture("early")], last)
    total = (recording.gradients[Capture("early")] * last).sum((1, 2, 3))
    torch.testing.assert_close(total, recording.logits[:, 0])  # homogeneous tail: g times A is the score


def test_hooks_go_when_the_forward_raises():
    net = build(GapNet)
    record(net, pictures(), captures=[Capture("conv", gradient=True)])
    net.fc.forward = lambda x: 1 / 0
    with pytest.raises(ZeroDivisionError):
        record(net, pictures(), captures=[Capture("conv", gradient=True), Capture("first", at="input")])
    with pytest.raises(ZeroDivisionError):
        explain(net, pictures(2, (30, 30)), [GradCAM()])  # in the dry run of a new size
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()


def test_training_flags_come_back_when_the_forward_raises():
    net = build(GapNet).train()
    net.norm.eval()
    net.fc.forward = lambda x: 1 / 0
    with pytest.raises(ZeroDivisionError):
        explain(net, pictures(), [GradCAM()])
    assert [m.training for m in net.modules()].count(False) == 1 and not net.norm.training
