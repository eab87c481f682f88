"""RISE: linear and constant networks, masks as the network received them, seeds, chunks and forward passes."""

import math

import numpy as np
import pytest
import torch
from helpers.toys import GapNet, StagedNet, build, pictures
from torch import nn

from livecam.core.normalization import IMAGENET
from livecam.explain import explain
from livecam.explain.methods.rise import RISE


def rise(net, images, targets=None, normalization=None, **kwargs):
    return explain(net, images, [RISE(**kwargs)], targets, normalization=normalization)["rise"]


def loud(make=StagedNet, **kwargs):
    """In double precision, with weights so large that probabilities move, but not so large that they saturate."""
    net = build(make, seed=1, **kwargs).double()
    with torch.no_grad():
        net.fc.weight.mul_(5)
    return net


class PassiveRecorder(nn.Module):
    """Keeps what it is shown."""

    def __init__(self):
        super().__init__()
        self.reusable = []

    def forward(self, images):
        self.reusable.append(images.clone())
        return images.mean((2, 3))


def masks_of(size, **kwargs):
    """The masks ``(n, H, W)`` that a network receives: an image of ones shows them."""
    net = PassiveRecorder()
    rise(net, torch.ones(1, 3, *size).double(), 0, **kwargs)
    # Behind the dry run and the recorded pass.
    masks = torch.cat(net.reusable[2:])
    assert (masks == masks[:, :1]).all()
    return masks[:, 0]


SETTINGS = {
    "default": {},
    "nearest": {"upsampling": "nearest"},
    "fixed": {"random_shift": False},
    "sparse": {"keep_prob": 0.1, "grid_size": 4},
    "white": {"baseline": "white"},
}


@pytest.mark.parametrize("case", SETTINGS)
@pytest.mark.parametrize("size", [(14, 14), (17, 11)], ids=str)
def test_the_definition_mask_by_mask(case, size):
    net, images, targets = loud(), pictures(2, size).double(), torch.tensor([2, 0])
    options = {"num_masks": 40} | SETTINGS[case]
    found = rise(net, images, targets, IMAGENET, **options)
    masks = masks_of(size, **{key: value for key, value in options.items() if key != "baseline"}).numpy()
    assert masks.shape == (40, *size) and masks.min() >= 0 and masks.max() <= 1
    white = (1 - np.array(IMAGENET.mean)) / np.array(IMAGENET.std)
    baseline = white[:, None, None] if case == "white" else 0
    for i, target in enumerate(targets.tolist()):
        total, scores = np.zeros(size), []
        for mask in masks:
            shown = images[i].numpy() * mask + baseline * (1 - mask)
            with torch.no_grad():
                logits = net(torch.from_numpy(shown)[None])[0].numpy()
            scores.append(np.exp(logits[target]) / np.exp(logits).sum())
            total += scores[-1] * mask
        expected = total / (40 * options.get("keep_prob", 0.5))
        np.testing.assert_allclose(found.raw[i].numpy(), expected, atol=1e-12, rtol=0)
        assert np.ptp(scores) > 0.05, "masks must matter here"
    assert found.details == {"num_masks": 40} and found.raw.dtype == torch.float64 and not RISE.signed


class LinearProbability(nn.Module):
    """One logit z with sigmoid(z) = 0.05 + <v, x>; cells of a 4 x 4 grid weigh very differently."""

    def __init__(self, size):
        super().__init__()
        cells = torch.rand(4, 4, generator=torch.Generator().manual_seed(5)).double() ** 4
        v = cells.repeat_interleave(size[0] // 4, 0).repeat_interleave(size[1] // 4, 1).expand(3, -1, -1)
        self.v = nn.Parameter(0.9 * v / v.sum())

    def forward(self, images):
        return torch.logit(0.05 + torch.einsum("nchw,chw->n", images, self.v))


@pytest.mark.parametrize("keep", [0.5, 0.3])
def test_a_linear_model_within_the_bounds_of_chance(keep):
    """E[map] = b + p T + (1 - p) c in a cell that holds c of T = sum of all, with b = 0.05 here."""
    net, images, number = LinearProbability((8, 12)).double(), pictures(1, (8, 12)).double().sigmoid(), 20_000
    options = {
        "num_masks": number,
        "grid_size": 4,
        "keep_prob": keep,
        "random_shift": False,
        "upsampling": "nearest",
        "internal_batch_size": 2000,
    }
    found = rise(net, images, 1, **options).raw[0]
    cells = found.reshape(4, 2, 4, 3)
    assert (cells - cells[:, :1, :, :1]).abs().max() < 1e-12
    held = (net.v.detach() * images[0]).sum(0).reshape(4, 2, 4, 3).sum((1, 3)).flatten().numpy()
    expected = 0.05 + keep * held.sum() + (1 - keep) * held
    # The exact variance of one term, from all 2^16 grids.
    grids = (np.arange(2**16)[:, None] >> np.arange(16)) & 1
    chance = (keep**grids * (1 - keep) ** (1 - grids)).prod(1)
    terms = (0.05 + grids @ held)[:, None] * grids / keep
    np.testing.assert_allclose(chance @ terms, expected, atol=1e-12)
    deviation = np.sqrt((chance @ terms**2 - expected**2) / number)
    error = cells[:, 0, :, 0].flatten().numpy() - expected
    assert (np.abs(error) < 5 * deviation).all()
    assert np.ptp(expected) > 5 * deviation.max(), "cells must differ by more than chance"


class Constant(GapNet):
    def forward(self, images):
        return 0 * super().forward(images) + torch.tensor([1.0, 3.0, -2.0, 0.0], dtype=images.dtype)


def test_a_constant_model_shows_its_masks():
    options = {"num_masks": 300, "keep_prob": 0.4}
    found = rise(build(Constant).double(), pictures(2, (15, 12)).double(), 1, **options).raw
    probability = torch.tensor([1.0, 3.0, -2.0, 0.0]).double().softmax(0)[1]
    expected = probability * masks_of((15, 12), **options).mean(0) / 0.4
    torch.testing.assert_close(found, expected.expand(2, -1, -1), atol=1e-12, rtol=0)
    # A fair estimate of the probability itself; a pixel's mask values have a variance of p (1 - p) at most.
    assert (found / probability - 1).abs().max() < 5 * math.sqrt(0.6 / 0.4 / 300)


def test_sums_of_many_masks_keep_the_differences_of_pixels():
    net, images, options = build(StagedNet), pictures(1, (12, 12)), {"num_masks": 3000, "internal_batch_size": 8}
    single = rise(net, images, 1, **options)
    double = rise(net.double(), images.double(), 1, **options)
    assert single.raw.dtype == torch.float32
    contrast = double.raw.max() - double.raw.min()
    assert contrast < 0.1 * double.raw.max(), "a faint map on a large common value, or this tests nothing"
    # Rounding the result itself costs up to 2e-6 here; plain sums in single precision cost more than 1e-5.
    torch.testing.assert_close(single.map, double.map, atol=5e-6, rtol=0)


def interpolated(line, length):
    """Values at ``length`` pixel centers of a line of cells, linear between the cells' centers, flat outside."""
    return np.interp((np.arange(length) + 0.5) * len(line) / length, np.arange(len(line)) + 0.5, line)


def enlarged(grid, size):
    rows = np.apply_along_axis(interpolated, 0, grid, size[0])
    return np.apply_along_axis(interpolated, 1, rows, size[1])


@pytest.mark.parametrize("size", [(12, 20), (13, 9)], ids=str)
def test_smooth_masks_are_enlarged_grids_at_a_random_place(size):
    cell = [-(-side // 4) for side in size]
    options = {"num_masks": 60, "grid_size": 4}
    # Without a shift and with hard cells, masks are the grids, which come before the places do.
    hard = masks_of(size, random_shift=False, upsampling="nearest", **options).numpy()
    assert set(np.unique(hard)) == {0, 1}
    grids = hard[:, :: cell[0], :: cell[1]]
    covered = np.repeat(np.repeat(grids, cell[0], 1), cell[1], 2)
    full = tuple(side - side % part for side, part in zip(size, cell))
    np.testing.assert_array_equal(hard[:, : full[0], : full[1]], covered[:, : full[0], : full[1]])
    if size == (13, 9):
        # The last cells lie beyond the border for the most part: some not seen at all tell nothing of their grid.
        assert grids.shape[1:] == (4, 3)
        return
    still = masks_of(size, random_shift=False, **options).numpy()
    np.testing.assert_allclose(still, [enlarged(grid, size) for grid in grids], atol=1e-7)
    places = set()
    for grid, mask in zip(grids, masks_of(size, **options).numpy()):
        large = enlarged(grid, (5 * cell[0], 5 * cell[1]))
        cuts = {
            (y, x): np.abs(large[y : y + size[0], x : x + size[1]] - mask).max()
            for y in range(cell[0])
            for x in range(cell[1])
        }
        best = min(cuts, key=cuts.get)
        assert cuts[best] < 1e-7
        places.add(best)
    # 3 x 5 places, 60 masks: nearly all are met, and both axes move by themselves.
    assert len(places) >= 12


def test_hard_masks_change_only_where_cells_meet():
    fixed, moved = (
        masks_of((24, 10), num_masks=200, grid_size=4, upsampling="nearest", random_shift=shift)
        for shift in (False, True)
    )

    def edges(masks):
        return {int(row) + 1 for row in (masks[:, 1:] != masks[:, :-1]).any(2).nonzero()[:, 1]}

    assert edges(fixed) == {6, 12, 18}
    # Enlarged by a cell more, cells of 7.5 px begin at 8, 15 and 23, and up to 5 px are cut away before them.
    assert edges(moved) == {start - cut for start in (8, 15, 23) for cut in range(6)}


def test_as_many_cells_are_kept_as_asked():
    for keep in (0.1, 0.5, 0.8):
        masks = masks_of((14, 14), num_masks=500, keep_prob=keep, upsampling="nearest", random_shift=False)
        assert abs(float(masks.mean()) - keep) < 5 * math.sqrt(keep * (1 - keep) / (500 * 49))


def test_an_image_smaller_than_the_grid():
    found = rise(build(StagedNet), pictures(2, (6, 4)), num_masks=20, grid_size=7)
    assert found.raw.shape == (2, 6, 4) and not found.degenerate.any()


def test_seeds():
    net, images = build(StagedNet), pictures()
    state = torch.random.get_rng_state()
    first = rise(net, images, num_masks=20, seed=3)
    torch.manual_seed(99)
    assert torch.equal(rise(net, images, num_masks=20, seed=3).raw, first.raw)
    assert (rise(net, images, num_masks=20, seed=4).map - first.map).abs().max() > 0.1
    torch.random.set_rng_state(state)
    rise(net, images, num_masks=20)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_batch_is_its_images():
    net, images, targets = loud(), pictures(3, (17, 12)).double(), torch.tensor([1, 3, 0])
    batch = rise(net, images, targets, num_masks=30, internal_batch_size=7, baseline="mean").raw
    for i in range(3):
        alone = rise(net, images[i : i + 1], targets[i : i + 1], num_masks=30, baseline="mean").raw
        torch.testing.assert_close(batch[i], alone[0], atol=1e-13, rtol=0)


@pytest.mark.parametrize("internal_batch_size", [1, 7, 1000])
def test_one_forward_per_mask_in_chunks_that_change_nothing(internal_batch_size):
    net, images = loud(), pictures(3, (13, 12)).double()
    expected = rise(net, images, 1, num_masks=25)
    runs = []
    net.register_forward_hook(lambda module, args, output: runs.append(len(args[0])))
    found = rise(net, images, 1, num_masks=25, internal_batch_size=internal_batch_size)
    torch.testing.assert_close(found.raw, expected.raw, atol=1e-13, rtol=0)
    # The recorded pass (the dry run was the first call's), and 25 masks of each image, whole ones for all at once.
    assert runs[0] == 3 and sum(runs[1:]) == 3 * 25 and max(runs[1:]) <= max(3, internal_batch_size)


def test_the_two_classes_of_one_logit_share_what_was_seen():
    net, images = loud(classes=1), pictures(2, (13, 12)).double()
    zero, one = (rise(net, images, target, num_masks=40).raw for target in (0, 1))
    expected = masks_of((13, 12), num_masks=40).mean(0) / 0.5
    torch.testing.assert_close(zero + one, expected.expand(2, -1, -1), atol=1e-12, rtol=0)


def test_a_color_needs_a_normalization():
    with pytest.raises(ValueError, match="The color 'black' is one of pixels: pass normalization="):
        rise(build(StagedNet), pictures(), baseline="black", num_masks=4)


def test_lists_of_a_configuration_file_are_colors():
    assert RISE(baseline=[0, 0.5, 1]) == RISE(baseline=(0, 0.5, 1))
    hash(RISE(baseline=[0, 0.5, 1]))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"num_masks": 0}, "num_masks is a whole number from 1, got 0"),
        ({"grid_size": 2.5}, "grid_size is a whole number from 1, got 2.5"),
        ({"internal_batch_size": 0}, "internal_batch_size is a whole number from 1, got 0"),
        ({"keep_prob": 0}, "keep_prob is the probability that a cell is seen, in \\(0, 1\\), got 0"),
        ({"keep_prob": 1.0}, "keep_prob is the probability"),
        ({"upsampling": "bicubic"}, "upsampling='bicubic' is not one of bilinear, nearest"),
        ({"baseline": "gray"}, "baseline='gray' is not one of"),
    ],
)
def test_wrong_options(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        RISE(**wrong)
