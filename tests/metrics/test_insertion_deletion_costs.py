"""What insertion and deletion cost, in chunks and batches, and that they leave the network alone."""

from math import ceil

import pytest
import torch
from deletion import CURVES, Share, double_net, double_pictures, measured, sparse, untied
from helpers.toys import StagedNet, build, pictures

from livecam.core.baselines import baseline_images
from livecam.metrics.insertion_deletion import (
    InsertionDeletion,
    tied_share,
)
from livecam.runtime.progress import reporting_to


def asked(maps, internal_batch_size=32, step=10, **kwargs):
    """How many images each forward had."""
    net = Share()
    images = torch.full((len(maps), 3, *maps.shape[1:]), 0.5)
    targets = torch.ones(len(maps), dtype=torch.long)
    InsertionDeletion(step=step, internal_batch_size=internal_batch_size, **kwargs).per_image(
        net, images, targets, maps
    )
    return net.sizes


def test_cost_is_what_is_said():
    strict = untied(1, (10, 10))
    assert sum(asked(strict)) == 2 * 10
    assert sum(asked(strict, insertion_baseline="rise")) == 2 * 10 + 1
    assert sum(asked(strict, baseline="rise", insertion_baseline="rise")) == 2 * 10
    assert sum(asked(strict, step=30)) == 2 * 4
    assert sum(asked(strict, step=500)) == 2
    assert sum(asked(sparse())) == 2 * 10 + 4 * 9
    assert sum(asked(sparse(), ties="row_major")) == 2 * 10
    assert sum(asked(torch.cat([strict, sparse(), strict]))) == 3 * 2 * 10 + 4 * 9


def test_default_step_takes_112_steps_at_224():
    assert sum(asked(untied(1, (224, 224)), step=None, internal_batch_size=8)) == 2 * 112
    assert sum(asked(untied(1, (13, 9)), step=None)) == 2 * ceil(117 / 2)


def test_a_fifth_of_tied_pixels_is_not_much():
    def with_tied(count):
        maps = untied(1, (10, 10)).flatten(1)
        maps[0, :count] = 2.0
        return maps.view(1, 10, 10)

    assert [round(float(tied_share(with_tied(count))), 2) for count in (20, 21)] == [0.20, 0.21]
    assert [sum(asked(with_tied(count))) for count in (20, 21)] == [20, 56]


@pytest.mark.parametrize("internal_batch_size", [1, 7, 32, 1000])
def test_forwards_are_full_and_never_larger_than_a_chunk(internal_batch_size):
    maps = torch.cat([untied(2, (10, 10)), sparse()])
    sizes, count = asked(maps, internal_batch_size), 3 * 20 + 36
    assert sizes == [internal_batch_size] * (count // internal_batch_size) + [count % internal_batch_size] * (
        count % internal_batch_size > 0
    )
    net, images, targets = double_net(), double_pictures(3, (10, 10)), torch.tensor([0, 1, 2])
    one, other = (
        InsertionDeletion(step=10, internal_batch_size=c).per_image(net, images, targets, maps)
        for c in (internal_batch_size, 5)
    )
    torch.testing.assert_close(one, other, atol=1e-13, rtol=0)


def test_a_batch_is_its_images():
    net, images, targets = double_net(), double_pictures(4, (11, 8)), torch.tensor([3, 0, 1, 2])
    maps = torch.cat([sparse((11, 8)), untied(1, (11, 8)), torch.zeros(1, 11, 8), untied(1, (11, 8), seed=9)])
    metric = InsertionDeletion("mean", "rise", step=6, curves=True)
    whole = metric.per_image(net, images, targets, maps)
    single = [metric.per_image(net, images[i : i + 1], targets[i : i + 1], maps[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(whole, torch.cat(single, 1), atol=1e-13, rtol=0)
    order = [2, 0, 3, 1]
    turned = metric.per_image(net, images[order], targets[order], maps[order])
    torch.testing.assert_close(turned, whole[:, order], atol=1e-13, rtol=0)


def test_progress_is_reported():
    told = []
    with reporting_to(lambda label, done, total: told.append((label, done, total))):
        asked(untied(1, (10, 10)), internal_batch_size=8)
    assert told == [("insertion and deletion", done, 20) for done in (8, 16, 20)]


# The network


def test_the_network_and_the_random_state_are_left_alone():
    net, images, targets, maps = double_net(), double_pictures(2, (10, 10)), torch.tensor([1, 2]), untied(2, (10, 10))
    metric = InsertionDeletion(step=10)
    expected = metric.per_image(net, images, targets, maps)
    net.train()
    net.norm.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    torch.manual_seed(7)
    state = torch.get_rng_state()
    given_images, given_maps = images.clone(), maps.clone()
    for context in (torch.enable_grad(), torch.no_grad(), torch.inference_mode()):
        with context:
            assert torch.equal(metric.per_image(net, images, targets, maps), expected)
    assert torch.equal(torch.get_rng_state(), state)
    assert modes == [module.training for module in net.modules()] and any(modes)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    assert torch.equal(images, given_images) and torch.equal(maps, given_maps)


def test_one_logit_knows_two_classes():
    net, images, maps = double_net(classes=1), double_pictures(2, (10, 10)), untied(2, (10, 10))
    metric = InsertionDeletion(step=10)
    zero, one = (measured(metric, net, images, torch.full((2,), target), maps) for target in (0, 1))
    for name in CURVES:
        torch.testing.assert_close(zero[name], 1 - one[name], atol=1e-12, rtol=0)
    assert (one["deletion"] - 0.5).abs().min() > 1e-3


def test_multilabel_probabilities_are_sigmoids():
    net, images, maps = double_net(), double_pictures(2, (10, 10)), untied(2, (10, 10))
    targets = torch.tensor([1, 2])
    metric = InsertionDeletion(step=100, curves=True)
    found = measured(metric, net, images, targets, maps, head="multilabel")
    clean, blurred = (
        net(x).sigmoid()[torch.arange(2), targets].detach() for x in (images, baseline_images(images, "blur51"))
    )
    torch.testing.assert_close(found["deletion_at_00"], clean, atol=1e-12, rtol=0)
    torch.testing.assert_close(found["deletion_at_100"], blurred, atol=1e-12, rtol=0)
    torch.testing.assert_close(found["insertion"], (clean + blurred) / 2, atol=1e-12, rtol=0)
    softmax = measured(metric, net, images, targets, maps)
    assert (softmax["insertion"] - found["insertion"]).abs().min() > 1e-3


@pytest.mark.parametrize("size", [(13, 21), (33, 9), (3, 3)])
def test_odd_sizes_and_single_precision(size):
    net, images, maps = build(StagedNet), pictures(2, size), untied(2, size)
    targets = torch.tensor([1, 2])
    single = InsertionDeletion(step=2).per_image(net, images, targets, maps)
    assert single.dtype == torch.float64 and single.isfinite().all()
    double = InsertionDeletion(step=2).per_image(net.double(), images.double(), targets, maps.double())
    torch.testing.assert_close(single, double, atol=1e-5, rtol=0)
