"""Occlusion and captum's: windows apart, and overlapping where strides reach the border.

Elsewhere captum clips the last window where ours is aligned to the border.
"""

import pytest
import torch
import torchvision
from helpers.libraries import far
from helpers.toys import StagedNet, build, pictures

from livecam.explain import explain
from livecam.explain.methods.occlusion import Occlusion

pytestmark = pytest.mark.oracle


def captums(net, images, targets, size, stride, probability=True):
    """Their map: mean drop over covering windows, with one window hiding all channels."""
    from captum.attr import Occlusion as Theirs

    def forward(inputs):
        logits = net(inputs)
        return logits.softmax(1) if probability else logits

    strides, windows = (3, stride, stride), (3, size, size)
    with torch.no_grad():
        found = Theirs(forward).attribute(images, windows, strides, 0, targets, perturbations_per_eval=8)
    assert (found == found[:, :1]).all()
    return found[:, 0]


def agree(ours, theirs, tolerance=1e-6):
    largest = theirs.abs().max()
    assert largest > 1e-3, "an empty map agrees with anything"
    assert far(ours, theirs) < tolerance * largest


def ours(net, images, targets, size, stride, score="probability"):
    # So many at a time whatever memory is free: how many run together changes rounding.
    return explain(net, images, [Occlusion(size, stride, score=score, internal_batch_size=32)], targets)[
        "occlusion"
    ].raw


@pytest.fixture(params=["toy", "squeezenet"])
def case(request):
    """In double precision, where random weights compare formulas and not rounding, and with heads that move."""
    if request.param == "toy":
        net, head = build(StagedNet, seed=1), "fc"
    else:
        net, head = build(torchvision.models.squeezenet1_1, weights=None, num_classes=10), "classifier.1"
    with torch.no_grad():
        net.get_submodule(head).weight.mul_(5 if request.param == "toy" else 20)
    return net.double(), pictures(2, (40, 48)).double(), torch.tensor([3, 0])


APART, OVERLAPPING = (8, 8), (16, 8)


@pytest.mark.parametrize("score", ["probability", "logit"])
@pytest.mark.parametrize("windows", [APART, OVERLAPPING], ids=str)
def test_captum(case, windows, score):
    agree(ours(*case, *windows, score), captums(*case, *windows, score == "probability"))


def test_captum_clips_the_last_window(case):
    found, theirs = ours(*case, 14, 8), captums(*case, 14, 8)
    # Rows 0 to 23 and columns 0 to 31 lie under windows that are whole in both (40 = 3 * 8 + 16, 48 = 4 * 8 + 16).
    agree(found[:, :24, :32], theirs[:, :24, :32])
    assert far(found, theirs) > 1e-3 * float(theirs.abs().max())


@pytest.mark.parametrize("windows", [(56, 56), (64, 32)], ids=str)
def test_captum_on_a_trained_network(mobilenet, photos, windows):
    images, targets = photos[0][:2], photos[1][:2]
    agree(ours(mobilenet, images, targets, *windows), captums(mobilenet, images, targets, *windows), 1e-6)
