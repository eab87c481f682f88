"""XRAI against PAIR's own code on real photos, upon the map of a real net and upon noise. Needs LIVECAM_DATA."""

import pytest
import torch

from livecam.core.maps import resize
from livecam.core.normalization import IMAGENET
from livecam.explain import GradCAM, explain
from livecam.explain.methods.segmentation import SCALES, masks_of, segment
from livecam.explain.methods.xrai import XRAI, dilate, grow_regions

pytestmark = pytest.mark.oracle


def theirs(attribution, masks, area):
    """Their map and ranks; what they leave uncovered is their last rank."""
    from saliency.core import XRAI as Theirs
    from saliency.core import XRAIParameters

    found = Theirs().GetMaskWithDetails(
        attribution.numpy()[..., None],
        call_model_function=None,
        base_attribution=attribution.numpy()[..., None],
        segments=list(masks.numpy()),
        extra_parameters=XRAIParameters(area_threshold=area, return_xrai_segments=True),
    )
    return torch.from_numpy(found.attribution_mask), torch.from_numpy(found.segments)


def agrees(attribution, masks, area):
    attribution = attribution.double()
    ours, rank = grow_regions(attribution, masks, area=area)
    expected, ranks = theirs(attribution, masks, area)
    assert rank.max() > 3 and ours.std() > 0.1 * attribution.std(), "too little to compare"
    torch.testing.assert_close(ours, expected, atol=1e-6 * float(attribution.abs().max()), rtol=0)
    torch.testing.assert_close(ours.sum(), attribution.sum())
    return expected, rank, torch.where(ranks > rank.max(), 0, ranks)


@pytest.mark.parametrize("area", [1.0, 0.3])
@pytest.mark.parametrize("segmentation", SCALES)
def test_growth(photos_at, segmentation, area):
    # All scales, so as many regions as ever, on half the pixels, as theirs goes over all masks once a region.
    images, _ = photos_at(160, (3,))
    pixels = IMAGENET.to_pixels(images[0]).clamp(0, 1)
    masks = dilate(masks_of(segment(pixels, segmentation, SCALES[segmentation])), 5)
    noise = torch.randn(1, 14, 14, generator=torch.Generator().manual_seed(0))
    _, rank, ranks = agrees(resize(noise, (160, 160))[0], masks, area)
    assert torch.equal(rank, ranks)


def test_a_real_net_on_real_photos(mobilenet, photos):
    # Not all scales: theirs needs a minute for them.
    images, scales = photos[0][:2], (50, 100, 150)
    found = explain(
        mobilenet, images, [GradCAM(), XRAI(GradCAM(), scales=scales)], photos[1][:2], normalization=IMAGENET
    )
    for i, image in enumerate(images):
        masks = dilate(masks_of(segment(IMAGENET.to_pixels(image).clamp(0, 1), "slic", scales)), 5)
        base, raw = resize(found["gradcam"].raw, (224, 224))[i], found["xrai_gradcam"].raw[i]
        expected, rank, ranks = agrees(base, masks, 1.0)
        torch.testing.assert_close(raw, expected.float(), atol=1e-6, rtol=1e-5)
        # Which of several regions of nothing comes first is left to rounding in theirs.
        assert torch.equal(rank[raw > 0], ranks[raw > 0])


@pytest.mark.parametrize("size", [224, 160])
def test_felzenszwalb_s_segments_are_theirs(photos_at, size):
    from saliency.core.xrai import _get_segments_felzenszwalb

    images, _ = photos_at(size, (0, 5))
    for image in images:
        pixels = IMAGENET.to_pixels(image).clamp(0, 1)
        photo = (pixels.double() * 255).round().permute(1, 2, 0).numpy()
        expected = _get_segments_felzenszwalb(photo)
        found = dilate(masks_of(segment(pixels, "felzenszwalb", SCALES["felzenszwalb"])), 5)
        assert len(expected) == len(found) > 30
        assert torch.equal(found, torch.stack([torch.from_numpy(mask) for mask in expected]).bool())
