"""What is heard of another's forward equals what a recorded pass, with autograd, shows."""

from dataclasses import dataclass

import pytest
import torch
import torchvision
from helpers.bits import same
from helpers.toys import DeepTail, GapNet, Given, NormTail, StagedNet, build, pictures
from hypothesis import given, settings
from hypothesis import strategies as st

from livecam.explain import (
    CAM,
    GradCAM,
    GradCAMPlusPlus,
    GradualExtrapolation,
    LayerCAM,
    Saliency,
    SmoothGradCAMPlusPlus,
    WGradCAM,
    XGradCAM,
    explain,
    record,
    structure_of,
)
from livecam.explain.explanation import explain_recording
from livecam.explain.methods.cam import LayerExplainer
from livecam.explain.recording.hooks import Capture
from livecam.explain.recording.passive import NotRecordedError, PassiveRecorder, has_closed_form_gradient

FAMILY = (
    CAM(),
    GradCAM(),
    XGradCAM(),
    LayerCAM(),
    WGradCAM(),
    GradCAMPlusPlus(),
    GradCAMPlusPlus(normalize_alpha=True, name="gradcam_pp_normalized"),
    SmoothGradCAMPlusPlus(),
    GradualExtrapolation(GradCAM()),
)


def listened(net, images, methods=FAMILY, shown=None):
    """A listener that has heard one forward."""
    structure = structure_of(net, images)
    recorder = PassiveRecorder(net, images, [capture for method in methods for capture in method.captures(structure)])
    with torch.no_grad():
        net(images if shown is None else shown)
    recorder.stop()
    return recorder


def check(net, images, targets, head="auto", methods=FAMILY, atol=1e-5):
    heard = listened(net, images, methods).recording(None, targets, head)
    captures = [capture for method in methods for capture in method.captures(heard.structure)]
    recorded = record(net, images, targets, captures, head=head)
    assert torch.equal(heard.targets, recorded.targets)
    torch.testing.assert_close(heard.logits, recorded.logits, atol=atol, rtol=atol)
    for method in methods:
        mine, theirs = explain_recording(method, heard), explain_recording(method, recorded)
        scale = float(theirs.raw.abs().max()) or 1.0
        torch.testing.assert_close(
            mine.raw / scale, theirs.raw / scale, atol=atol, rtol=0, msg=lambda t, m=method: m.name + t
        )
        torch.testing.assert_close(mine.probability, theirs.probability, atol=atol, rtol=0)
        assert torch.equal(mine.predicted, theirs.predicted) and torch.equal(mine.degenerate, theirs.degenerate)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.tuples(st.integers(9, 30), st.integers(9, 30)),
    kind=st.sampled_from([GapNet, StagedNet]),
    inplace=st.booleans(),
    head=st.sampled_from(["softmax", "binary", "multilabel"]),
    label=st.booleans(),
)
def test_any_gap_network_head_and_target(seed, size, kind, inplace, head, label):
    classes = 1 if head == "binary" else 4
    net, images = build(kind, classes, inplace, seed=seed).double(), pictures(3, size, seed).double()
    check(net, images, torch.tensor([0, 1, 1]) if label else None, head, atol=1e-10)


def test_a_tail_that_overwrites_the_layer_in_place():
    net = build(NormTail, True)
    assert structure_of(net, pictures()).post_relu
    check(net, pictures(3), torch.tensor([0, 1, 2]))
    # Not in place, no module returns what is pooled.
    structure = structure_of(build(NormTail, False), pictures())
    assert not has_closed_form_gradient(GradCAM().captures(structure), structure)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121", "shufflenet_v2_x0_5"])
def test_networks_of_torchvision(name):
    net = build(torchvision.models.get_model, name)
    check(net, pictures(2, (64, 64)), torch.tensor([3, 700]), atol=1e-4)


def test_by_hand():
    """Z = 4, A = [[1, 2], [3, 2]], w = 2: g = 0.5, and Grad-CAM++'s weight is 1/3."""
    images = torch.zeros(1, 3, 2, 2)
    images[0, 0] = torch.tensor([[1.0, 2.0], [3.0, 2.0]])
    heard = listened(build(Given, torch.tensor([[2.0, 0, 0], [0, 0, 0]])), images).recording(
        None, torch.tensor([0]), "auto"
    )
    assert heard.logits.tolist() == [[4.0, 0.0]]
    (slope,) = heard.gradients.values()
    assert slope.shape == (1, 3, 2, 2) and slope[0, 0].eq(0.5).all() and slope[0, 1:].eq(0).all()
    assert slope.stride()[2:] == (0, 0), "a view, which takes no memory"
    torch.testing.assert_close(GradCAMPlusPlus().explain(heard)[0], images[:, 0] / 3)
    torch.testing.assert_close(WGradCAM().explain(heard), images[:, 0])


@dataclass(frozen=True)
class Summed(LayerExplainer):
    """Somebody's own method, which knows nothing of closed forms: channels by the sum of their gradients."""

    method, label, single_pass = "summed", "Summed", True

    def explain(self, recording):
        weights = self.gradients(recording).sum((2, 3))
        return (weights[:, :, None, None] * self.activations(recording)).sum(1)


def test_a_method_of_ones_own_need_not_know():
    check(build(GapNet), pictures(3), torch.tensor([0, 1, 2]), methods=[Summed()])


def test_rows_may_come_several_times():
    net, images = build(GapNet), pictures(3)
    rows, targets = torch.tensor([2, 0, 0, 1]), torch.tensor([0, 3, 1, 2])
    heard = listened(net, images).recording(rows, targets, "softmax")
    alone = explain(net, images[rows], FAMILY, targets)
    for method in FAMILY:
        torch.testing.assert_close(method.result(heard)[0], alone[method.name].raw, atol=1e-6, rtol=1e-5)
    part = listened(net, images).recording(slice(1, 3), targets[1:3], "softmax")
    assert torch.equal(part.images, images[1:3])


def test_listening_changes_nothing_and_leaves_nothing():
    net, images = build(NormTail, True), pictures(3)
    with torch.no_grad():
        before = net(images)
        structure = structure_of(net, images)
        recorder = PassiveRecorder(net, images, GradCAM().captures(structure))
        during = net(images)
    assert same(before, during)
    recorder.stop()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_a_layer_that_does_not_exist_leaves_no_hook():
    net, images = build(GapNet), pictures(2)
    with pytest.raises(KeyError, match="nowhere"):
        PassiveRecorder(net, images, [*GradCAM().captures(structure_of(net, images)), Capture("nowhere")])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_explanations_own_passes_are_not_heard():
    net, images = build(GapNet), pictures(2)
    recorder = PassiveRecorder(net, images, GradCAM().captures(structure_of(net, images)))
    with torch.no_grad():
        net(images)
    explain(net, images.flip(3), [GradCAM()])
    recorder.stop()
    torch.testing.assert_close(
        recorder.recording(None, None, "auto").logits, net(images).detach(), atol=1e-6, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("passes", "words"),
    [
        ([], "ran 0 times"),
        ([2, 2], "ran 2 times"),
        ([1], "did not see the 2 images"),
        ([3], "did not see the 2 images"),
    ],
)
def test_what_was_not_heard_is_said(passes, words):
    net, images = build(GapNet), pictures(3)
    recorder = PassiveRecorder(net, images[:2], GradCAM().captures(structure_of(net, images)))
    with torch.no_grad():
        for count in passes:
            net(images[:count])
    with pytest.raises(NotRecordedError, match=f"layer 'last' {words}"):
        recorder.recording(None, None, "auto")


def test_what_is_in_closed_form():
    images = pictures(1, (64, 64))
    gap, vgg = structure_of(build(GapNet), images), structure_of(build(torchvision.models.vgg11), images)

    def told(method, structure):
        return has_closed_form_gradient(method.captures(structure), structure)

    assert all(told(method, gap) for method in FAMILY) and told(GradCAM(layer="last"), gap)
    assert not told(GradCAM(), vgg) and not told(GradCAM(layer="first"), gap) and not told(Saliency(), gap)
    deep = structure_of(build(DeepTail), images)
    assert told(GradCAM(), deep) and not told(GradCAM(layer="early"), deep)
    assert not told(GradualExtrapolation(GradCAM(layer="first")), gap)


def test_half_precision_is_told_and_made_whole():
    net, images = build(GapNet), pictures(3)
    structure = structure_of(net, images)
    recorder = PassiveRecorder(net, images, [capture for method in FAMILY for capture in method.captures(structure)])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        net(images)
    assert recorder.in_half
    heard = recorder.recording(None, None, "auto")
    assert {value.dtype for value in heard.activations.values()} == {torch.float32} == {heard.logits.dtype}
    recorder.stop()
    assert not listened(net, images).in_half


def test_a_target_out_of_range_is_refused():
    net, images = build(GapNet), pictures(2)
    with pytest.raises(ValueError, match="Target class 9 is out of range"):
        listened(net, images).recording(None, torch.tensor([0, 9]), "softmax")
