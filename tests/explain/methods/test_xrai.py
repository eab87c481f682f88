"""XRAI: the greedy by hand and by loops, the segments it grows, and what it makes of other methods' maps."""

import numpy as np
import pytest
import skimage.segmentation
import torch
import torch.nn.functional as F
from helpers.toys import StagedNet, build, pictures
from hypothesis import given, settings
from hypothesis import strategies as st

from livecam.core.maps import resize
from livecam.core.normalization import IMAGENET
from livecam.explain import CAM, GradCAM, GradualExtrapolation, by_name, explain
from livecam.explain.methods import segmentation as segments
from livecam.explain.methods.gradients import IntegratedGradients
from livecam.explain.methods.segmentation import SCALES, masks_of, segment
from livecam.explain.methods.xrai import XRAI, dilate, grow_regions


def scenes(count=2, size=(24, 24)):
    """Images of a few soft blobs: SLIC finds no segments in plain noise."""
    return F.interpolate(pictures(count, (4, 4)), size, mode="bilinear")


SMALL = {"scales": (4, 9), "min_pixels": 5, "dilation": 1}


def slowly(attribution, masks, min_pixels, area):
    """The greedy as the paper tells it: every mean anew at every step."""
    attribution, masks = attribution.double().numpy(), dict(enumerate(masks.numpy()))
    grown, covered, regions = np.zeros(attribution.shape), np.zeros(attribution.shape, bool), []
    while covered.mean() <= area:
        masks = {key: mask for key, mask in masks.items() if (mask & ~covered).sum() >= min_pixels}
        if not masks:
            break
        means = {key: attribution[mask & ~covered].mean() for key, mask in masks.items()}
        best = max(means, key=means.get)
        new = masks.pop(best) & ~covered
        regions.append((means[best], new))
        grown[new], covered = means[best], covered | new
    if not covered.all():
        grown[~covered] = attribution[~covered].mean()
    ranks = np.zeros(attribution.shape, int)
    for rank, (_, new) in enumerate(sorted(regions, key=lambda region: -region[0]), 1):
        ranks[new] = rank
    return torch.from_numpy(grown), torch.from_numpy(ranks)


def drawn(seed, count=12, size=(9, 11)):
    """Attributions of either sign, and blobs that overlap, some of them twice."""
    generator = torch.Generator().manual_seed(seed)
    attribution = torch.randn(*size, generator=generator, dtype=torch.float64)
    masks = resize(torch.rand(count, 4, 4, generator=generator), size) > 0.55
    return attribution, torch.cat([masks, masks[::3]])


laws = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 10**6)


def test_two_halves():
    attribution = torch.ones(8, 20)
    attribution[:, 10:] = 2
    right = attribution == 2
    for masks in (torch.stack([right, ~right]), torch.stack([~right, right])):
        grown, rank = grow_regions(attribution, masks)
        assert torch.equal(grown, attribution) and grown.dtype == torch.float32
        assert torch.equal(rank, torch.where(right, 1, 2)) and rank.dtype == torch.long


@laws
@given(seed=seeds, min_pixels=st.integers(1, 12), area=st.sampled_from([0.0, 0.3, 0.6, 1.0]))
def test_the_greedy_by_loops(seed, min_pixels, area):
    attribution, masks = drawn(seed)
    grown, rank = grow_regions(attribution, masks, min_pixels, area)
    expected, ranks = slowly(attribution, masks, min_pixels, area)
    assert torch.equal(rank, ranks)
    torch.testing.assert_close(grown, expected, atol=1e-14, rtol=1e-13)
    # No evidence is made or lost, and a region has one value.
    torch.testing.assert_close(grown.sum(), attribution.sum(), atol=1e-12, rtol=0)
    for number in rank.unique():
        assert len(grown[rank == number].unique()) == 1
    single = grow_regions(attribution.float(), masks, min_pixels, area)
    assert torch.equal(single[1], rank) and single[0].dtype == torch.float32


@laws
@given(seed=seeds, levels=st.sampled_from([1, 2, 3]))
def test_of_equal_masks_the_first_comes_first(seed, levels):
    attribution, masks = drawn(seed)
    # Few values, none of them a sum of powers of two: many means tie, and rounding would break the ties.
    attribution = (attribution.round().clamp(0, levels) * 0.1).float()
    grown, rank = grow_regions(attribution, masks, 3)
    # The same in whole numbers, where the slow sums are exact as well.
    expected, ranks = slowly((attribution * 10).round(), masks, 3, 1.0)
    assert torch.equal(rank, ranks)
    torch.testing.assert_close(grown, (expected / 10).float(), atol=1e-7, rtol=1e-6)


def test_small_masks_and_early_ends():
    attribution = torch.arange(40.0).view(4, 10)
    rows = torch.eye(4, dtype=torch.bool)[:, :, None].expand(4, 4, 10)
    grown, rank = grow_regions(attribution, rows, 10)
    assert rank[:, 0].tolist() == [4, 3, 2, 1] and grown[:, 0].tolist() == [4.5, 14.5, 24.5, 34.5]
    grown, rank = grow_regions(attribution, rows, 11)
    assert rank.eq(0).all() and grown.eq(19.5).all()
    # Growth ends once *more* than the share is covered.
    for area, regions in [(0, 1), (0.24, 1), (0.25, 2), (0.6, 3), (1, 4)]:
        grown, rank = grow_regions(attribution, rows, 10, area)
        assert rank.max() == regions and grown.sum() == attribution.sum()
    assert grow_regions(attribution, rows, 10, 0.25)[0][:, 0].tolist() == [9.5, 9.5, 24.5, 34.5]


def test_evidence_against_comes_last_and_below_zero():
    attribution = torch.tensor([[-3.0, -3.0, 0.0, 0.0, 2.0, 2.0]])
    masks = torch.tensor([[[1, 1, 0, 0, 0, 0]], [[0, 0, 1, 1, 0, 0]], [[0, 0, 0, 1, 1, 1]]]).bool()
    grown, rank = grow_regions(attribution, masks, 1)
    torch.testing.assert_close(grown, torch.tensor([[-3.0, -3.0, 0.0, 4 / 3, 4 / 3, 4 / 3]]))
    assert rank.tolist() == [[3, 3, 2, 1, 1, 1]]


def test_a_region_of_higher_mean_may_be_uncovered_late():
    attribution = torch.tensor([[4.0, 4.0, -9.0, 9.0, 9.0]])
    masks = torch.tensor([[[1, 1, 1, 0, 0]], [[0, 0, 1, 1, 1]]]).bool()
    grown, rank = grow_regions(attribution, masks, 1)
    # The second mask (mean 3) comes first and frees the first one (mean -1/3) of what weighs it down.
    assert grown.tolist() == [[4, 4, 3, 3, 3]] and rank.tolist() == [[1, 1, 2, 2, 2]]


@pytest.mark.parametrize("radius", [0, 1, 2, 5, 8, 30])
def test_dilation_is_that_by_a_disk(radius):
    from skimage.morphology import dilation, disk

    masks = torch.rand(5, 23, 17, generator=torch.Generator().manual_seed(0)) > 0.98
    masks[4] = False
    masks[4, 0, 16] = True
    expected = [dilation(mask, footprint=disk(radius)) for mask in masks.numpy()]
    assert masks.any((1, 2)).all() and torch.equal(dilate(masks, radius, 2), torch.from_numpy(np.stack(expected)))


@pytest.mark.parametrize("method", SCALES)
@pytest.mark.parametrize("size", [(24, 40), (33, 27)], ids=str)
def test_segments_are_partitions(method, size):
    labels = segment(IMAGENET.to_pixels(scenes(1, size)[0]).clamp(0, 1), method, (5, 50))
    assert labels.shape == (2, *size) and labels.dtype == torch.int32 and labels.min() >= 0
    masks = masks_of(labels)
    assert labels.max() > 0 and masks.sum(0).eq(2).all() and len(masks) == int(labels.flatten(1).amax(1).add(1).sum())


@pytest.mark.parametrize("method", SCALES)
def test_an_image_of_one_segment_has_a_flat_map_and_a_flag(method):
    # Nothing but noise for the one, nothing at all for the other.
    images = torch.stack([pictures(1)[0], scenes(1)[0]])
    images = images if method == "slic" else torch.stack([IMAGENET.to_input(torch.full((3, 24, 24), 0.3)), images[1]])
    assert segment(IMAGENET.to_pixels(images[0]).clamp(0, 1), method, (4, 9)).eq(0).all()
    xrai = XRAI("gradcam", method, scales=(4, 9), min_pixels=5, dilation=0)
    found = explain(build(StagedNet), images, [xrai], 2, normalization=IMAGENET)["xrai_gradcam"]
    assert found.degenerate.tolist() == [True, False] and found.map[0].eq(0).all()
    assert found.details["regions"][0] == 1 < found.details["regions"][1]


def test_an_unknown_segmentation():
    with pytest.raises(ValueError, match=r"segmentation='slick' is not one of slic, felzenszwalb\. Did you mean slic"):
        segment(pictures(1)[0], "slick", (5,))


@pytest.fixture
def runs(monkeypatch):
    """Calls of SLIC, and nothing remembered from before."""
    called, real = [], skimage.segmentation.slic

    def counted(image, **kwargs):
        called.append(kwargs["n_segments"])
        return real(image, **kwargs)

    monkeypatch.setattr(skimage.segmentation, "slic", counted)
    segments._made.clear()
    yield called
    segments._made.clear()


def test_a_photo_is_segmented_once(runs):
    net, images = build(StagedNet), scenes(2, (24, 32))
    first = explain(net, images, [XRAI("gradcam", **SMALL)], normalization=IMAGENET)["xrai_gradcam"]
    assert runs == [4, 9, 4, 9]
    # Neither another class or method nor rounding makes it another photo.
    explain(net, images.flip(0) + 1e-6, [XRAI("cam", **SMALL)], 2, normalization=IMAGENET)
    again = explain(net, images, [XRAI("gradcam", **SMALL)], normalization=IMAGENET)["xrai_gradcam"]
    assert len(runs) == 4 and torch.equal(again.raw, first.raw)
    explain(net, images + 0.1, [XRAI("gradcam", **SMALL)], normalization=IMAGENET)
    assert len(runs) == 8
    explain(net, images, [XRAI("gradcam", **SMALL | {"scales": (4,)})], normalization=IMAGENET)
    assert len(runs) == 10


def test_what_is_remembered_is_bounded_and_what_is_used_stays(runs):
    photos = torch.rand(70, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for photo in photos:
        segment(photo, "slic", (2,))
        segment(photos[0], "slic", (2,))
    assert len(segments._made) == 64 and len(runs) == 70
    segment(photos[1], "slic", (2,))
    # The same bytes in another shape are another image.
    segment(photos[0].view(3, 4, 16), "slic", (2,))
    assert len(segments._made) == 64 and len(runs) == 72


def test_a_base_is_resized_and_gathered():
    net, images = build(StagedNet), scenes(2, (24, 40))
    found = explain(net, images, [CAM(), XRAI(CAM(), **SMALL)], 1, normalization=IMAGENET)
    base, xrai = resize(found["cam"].raw, (24, 40)), found["xrai_cam"]
    assert xrai.raw.shape == (2, 24, 40) and xrai.raw.dtype == torch.float32
    torch.testing.assert_close(xrai.raw.sum((1, 2)), base.sum((1, 2)), atol=1e-3, rtol=1e-5)
    for i in range(2):
        labels = segment(IMAGENET.to_pixels(images[i]).clamp(0, 1), "slic", (4, 9))
        raw, rank = grow_regions(base[i], dilate(masks_of(labels), 1), 5)
        assert torch.equal(xrai.raw[i], raw) and torch.equal(xrai.details["rank"][i], rank)
        assert xrai.details["regions"][i] == rank.max() > 2


def test_a_batch_is_its_samples_and_the_base_runs_once():
    net, images = build(StagedNet).double(), scenes(3, (24, 40)).double()
    xrai = XRAI(GradCAM(), segmentation="felzenszwalb", scales=(5, 20), min_pixels=5, dilation=2)
    batch = explain(net, images, [xrai], 2, normalization=IMAGENET)["xrai_gradcam"]
    assert batch.raw.dtype == torch.float64
    for i in range(3):
        alone = explain(net, images[i : i + 1], [xrai], 2, normalization=IMAGENET)["xrai_gradcam"]
        torch.testing.assert_close(batch.raw[i], alone.raw[0], atol=1e-12, rtol=1e-10)
        assert torch.equal(batch.details["rank"][i], alone.details["rank"][0])
    passes = []
    net.register_forward_hook(lambda *_: passes.append(1))
    explain(net, images, [GradCAM(), xrai, GradualExtrapolation(GradCAM())], 2, normalization=IMAGENET)
    assert len(passes) == 1


def test_its_own_base_is_integrated_gradients_from_black_and_white():
    net, images = build(StagedNet), scenes()
    base = IntegratedGradients(n_steps=100, baseline=("image_min", "image_max"), reduce="max")
    passes = []
    net.register_forward_hook(lambda *_: passes.append(1))
    alone = explain(net, images, [base], normalization=IMAGENET)
    once = len(passes)
    found = explain(net, images, [base, XRAI(**SMALL)], normalization=IMAGENET)
    assert len(passes) - once <= once, "the two share one integration"
    torch.testing.assert_close(found["integrated_gradients"].raw, alone["integrated_gradients"].raw)
    torch.testing.assert_close(
        found["xrai"].raw.sum((1, 2)), alone["integrated_gradients"].raw.sum((1, 2)), atol=1e-5, rtol=1e-5
    )
    assert {"convergence_delta", "rank", "regions"} <= set(found["xrai"].details)


def test_names_labels_and_words():
    assert XRAI().name == "xrai" and XRAI().label == "XRAI" and by_name("xrai") == XRAI()
    word = XRAI("gradcam")
    assert word == XRAI(GradCAM()) == by_name("xrai_gradcam") and word.name == "xrai_gradcam"
    assert word.label == "XRAI Grad-CAM" and XRAI(GradCAM(name="inner")).name == "xrai_inner"
    assert by_name("xrai_gradual_gradcam") == XRAI(GradualExtrapolation("gradcam"))
    assert by_name("gradual_xrai") == GradualExtrapolation(XRAI())
    assert XRAI("cam", name="mine").name == "mine" and XRAI(scales=[3, 5]) == XRAI(scales=(3, 5))


def test_what_cannot_be():
    for wrong, sentence in [
        ({"base": "gradcm"}, "Did you mean gradcam"),
        ({"segmentation": "slik"}, "segmentation='slik' is not one of slic, felzenszwalb. Did you mean slic"),
        ({"scales": ()}, "scales names no scale"),
        ({"scales": (50, 0)}, "scales is a whole number from 1, got 0"),
        ({"dilation": -1}, "dilation is a whole number from 0, got -1"),
        ({"min_pixels": 0}, "min_pixels is a whole number from 1, got 0"),
        ({"area": 1.5}, "area is a number from 0 to 1, got 1.5"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            XRAI(**wrong)
    with pytest.raises(ValueError, match=r"XRAI Grad-CAM segments the image .*: pass normalization=Normalization\("):
        explain(build(StagedNet), pictures(), [XRAI("gradcam", **SMALL)])
