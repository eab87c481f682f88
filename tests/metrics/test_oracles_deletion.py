"""Insertion, deletion and changes of confidence against torchcam, which is given the same maps.

torchcam integrates its curves against the true share of pixels, so that areas agree where steps divide the image.
"""

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from helpers.toys import GapNet, StagedNet, build, pictures
from torchvision.transforms.v2.functional import gaussian_blur

from livecam.metrics.confidence import ConfidenceChange
from livecam.metrics.insertion_deletion import InsertionDeletion

pytestmark = pytest.mark.oracle

SOFTMAX = partial(torch.softmax, dim=-1)


class Given:
    """Their interface of an extractor, around maps that are there already."""

    def __init__(self, model, maps):
        self.model, self.maps = model, maps

    def __call__(self, class_idx=None, scores=None, **kwargs):
        return [self.maps]

    def fuse_cams(self, cams):
        return cams[0]

    def _hooks_off(self):
        return nullcontext()


def case(make, count=3, size=(32, 30)):
    net, images = build(make).double(), pictures(count, size).double()
    generator = torch.Generator().manual_seed(2)
    maps = torch.stack([torch.randperm(size[0] * size[1], generator=generator).view(size) for _ in range(count)])
    return net, images, net(images).argmax(1), maps.double() / maps.max()


@pytest.mark.parametrize("make", [GapNet, StagedNet])
@pytest.mark.parametrize("steps", [10, 30])
@pytest.mark.parametrize("word", ["zero_normalized", "blur51", "mean"])
def test_torchcams_deletion_and_insertion(make, steps, word):
    from torchcam.metrics import DeletionInsertionMetric

    # Their blur needs room for half a kernel of 51.
    net, images, targets, maps = case(make)
    baseline = {
        "zero_normalized": None,
        "blur51": lambda x: gaussian_blur(x, [51, 51], [50.0, 50.0]),
        "mean": lambda x: x.mean((2, 3), keepdim=True),
    }[word]
    theirs = DeletionInsertionMetric(Given(net, maps), SOFTMAX, steps=steps, baseline=baseline, batch_size=16)
    theirs.update(images, targets.tolist())
    ours = InsertionDeletion(word, step=32 * 30 // steps)
    ours.update(net, images, targets, maps)
    found, expected = ours.compute(), theirs.summary()
    # Their fractions are single precision; blurs differ by how kernels round.
    for name in ("deletion", "insertion"):
        assert float(found[name]) == pytest.approx(expected[f"{name}_auc"], abs=1e-6)
    assert abs(float(found["insertion_deletion"])) > 1e-3


def test_torchcams_order_of_ties_is_row_major():
    from torchcam.metrics import DeletionInsertionMetric

    net, images, targets, maps = case(GapNet)
    maps = (maps - 0.9).relu()
    theirs = DeletionInsertionMetric(Given(net, maps), SOFTMAX, steps=30)
    theirs.update(images, targets.tolist())
    found = {}
    for ties in ("row_major", "numpy"):
        ours = InsertionDeletion("zero_normalized", step=32, ties=ties)
        ours.update(net, images, targets, maps)
        found[ties] = ours.compute()
    expected = theirs.summary()
    assert float(found["row_major"]["tied"]) > 0.89
    for name in ("deletion", "insertion"):
        assert float(found["row_major"][name]) == pytest.approx(expected[f"{name}_auc"], abs=1e-6)
        assert abs(float(found["numpy"][name]) - expected[f"{name}_auc"]) > 1e-3


@pytest.mark.parametrize("make", [GapNet, StagedNet])
def test_torchcams_average_drop_and_increase(make):
    from torchcam.metrics import ClassificationMetric

    net, images, targets, maps = case(make, 8)
    theirs = ClassificationMetric(Given(net, maps), SOFTMAX)
    theirs.update(images, targets.tolist())
    ours = ConfidenceChange()
    ours.update(net, images, targets, maps)
    found, expected = ours.compute(), theirs.summary()
    # They add 1e-7 to the probability that they divide by.
    assert float(found["confidence"]) == pytest.approx(100 * expected["avg_drop"], abs=1e-4)
    assert float(found["increase"]) == pytest.approx(100 * expected["conf_increase"], abs=1e-9)
    assert found["confidence"] > 1
