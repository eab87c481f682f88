"""What takes the place of pixels, and options that are refused."""

import numpy as np
import pytest
import scipy.ndimage
import torch
import torch.nn.functional as F
from deletion import double_net, double_pictures, measured, untied
from helpers.toys import GapNet, build, pictures
from torchvision.transforms.v2.functional import gaussian_blur

from livecam.core.baselines import baseline_images, rise_blur
from livecam.core.normalization import IMAGENET
from livecam.metrics.insertion_deletion import (
    InsertionDeletion,
)


def test_blur51_is_torchvisions():
    images = double_pictures(2, (60, 47))
    torch.testing.assert_close(
        baseline_images(images, "blur51"), gaussian_blur(images, [51, 51], [50.0, 50.0]), atol=1e-7, rtol=0
    )
    single = images.float()
    torch.testing.assert_close(
        baseline_images(single, "blur51"), gaussian_blur(single, [51, 51], [50.0, 50.0]), atol=1e-5, rtol=0
    )
    assert (baseline_images(images, "blur51") - images).abs().max() > 1


def test_rise_blur_is_that_of_its_code():
    delta = np.zeros((11, 11))
    delta[5, 5] = 1
    kernel = torch.tensor(scipy.ndimage.gaussian_filter(delta, 5)).expand(3, 1, 11, 11)
    for size in ((30, 23), (5, 9)):
        images = double_pictures(2, size)
        expected = F.conv2d(images, kernel, padding=5, groups=3)
        torch.testing.assert_close(rise_blur(images), expected, atol=1e-12, rtol=0)
    assert kernel[0, 0].std() / kernel[0, 0].mean() > 1e-3, "a plain box would do"


def test_where_no_kernel_of_51_fits():
    line = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64).expand(1, 3, 1, 3)
    weight = torch.exp(-torch.tensor([4.0, 1, 0, 1, 4], dtype=torch.float64) / 5000)
    seen = torch.tensor([4.0, 2, 1, 2, 4, 2, 1], dtype=torch.float64)
    by_hand = [float((weight * seen[i : i + 5]).sum() / weight.sum()) for i in range(3)]
    assert baseline_images(line, "blur51")[0, 0, 0].tolist() == pytest.approx(by_hand, abs=1e-12)
    flat = torch.full((1, 3, 9, 20), 0.7, dtype=torch.float64)
    torch.testing.assert_close(baseline_images(flat, "blur51"), flat, atol=1e-12, rtol=0)
    assert torch.equal(baseline_images(flat[..., :1, :1], "blur51"), flat[..., :1, :1])


def test_each_curve_has_its_own_substrate():
    net, images, maps = double_net(), double_pictures(1, (30, 30)), untied(1, (30, 30))
    metric = InsertionDeletion((0.1, 0.2, 0.3), "rise", step=90, curves=True)
    found = measured(metric, net, images, torch.tensor([1]), maps, normalization=IMAGENET)
    color = (torch.tensor([0.1, 0.2, 0.3]) - torch.tensor(IMAGENET.mean)) / torch.tensor(IMAGENET.std)
    ends = [images, color.double()[None, :, None, None].expand_as(images), rise_blur(images)]
    clean, colored, blurred = (float(net(end).detach().softmax(1)[0, 1]) for end in ends)
    points = [float(found[f"{curve}_at_{at}"]) for curve in ("deletion", "insertion") for at in ("00", "100")]
    assert points == pytest.approx([clean, colored, blurred, clean], abs=1e-6)
    assert abs(colored - blurred) > 1e-3


def test_fills_are_substrates():
    images = pictures(2, (8, 8))
    assert torch.equal(baseline_images(images, "zero_normalized"), torch.zeros_like(images))
    assert torch.equal(baseline_images(images, "mean"), images.mean((2, 3), keepdim=True).expand_as(images))


def test_colors_need_a_normalization():
    net, images, maps = build(GapNet), pictures(1, (8, 8)), untied(1, (8, 8))
    with pytest.raises(ValueError, match="pass normalization="):
        InsertionDeletion("black").per_image(net, images, torch.tensor([0]), maps)


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": "blur15"}, "baseline='blur15' is not one of .* Did you mean blur51"),
        ({"insertion_baseline": "Rise"}, "insertion_baseline='Rise' is not one of .* Did you mean rise"),
        ({"insertion_baseline": (0.1, 2.0, 0.3)}, "insertion_baseline is a color of three values"),
        ({"ties": "rowmajor"}, "ties='rowmajor' is not one of random, row_major, numpy. Did you mean row_major"),
        ({"step": 0}, "step is a whole number from 1, got 0"),
        ({"step": 2.5}, "step is a whole number from 1, got 2.5"),
        ({"internal_batch_size": 0}, "internal_batch_size is a whole number from 1"),
        ({"seed": -1}, "seed is a whole number from 0"),
    ],
)
def test_options_that_there_are_not(options, message):
    with pytest.raises(ValueError, match=message):
        InsertionDeletion(**options)


@pytest.mark.parametrize("shape", [(2, 8, 9), (1, 8, 8), (2, 1, 8, 8)], ids=str)
def test_maps_of_another_size(shape):
    with pytest.raises(ValueError, match=r"Maps .* do not fit images \(2, 3, 8, 8\): give one map"):
        InsertionDeletion().per_image(build(GapNet), pictures(2, (8, 8)), torch.tensor([0, 1]), torch.rand(shape))


def test_what_it_reads():
    assert InsertionDeletion.inputs == set(["model", "images", "targets", "maps", "head", "normalization"])
    assert (InsertionDeletion.name, InsertionDeletion.uses) == ("insertion_deletion", "map")
    assert InsertionDeletion.value_names[0] == "insertion_deletion" and InsertionDeletion.higher_is_better
