"""Gradual Extrapolation on U-Nets: coarse layers are sharpened, and where nothing is to be sharpened it says so."""

import pytest
import torch
from helpers.toys import build, pictures

from livecam.explain import GradCAM, GradualExtrapolation, explain
from livecam.models import build_model


@pytest.mark.parametrize("skips", ["concat", "drop"])
def test_u_nets(skips):
    net = build(build_model, "unet", 3, width=4, depth=2, skips=skips)
    images = pictures(2, (32, 48))
    full, bottleneck = GradualExtrapolation(GradCAM()), GradualExtrapolation(GradCAM("bottleneck"), name="bottleneck")
    with pytest.warns(UserWarning, match=r"Gradual Grad-CAM is Grad-CAM itself here.*layer='bottleneck'"):
        found = explain(net, images, [GradCAM(), full, bottleneck])
    assert found["bottleneck"].raw.shape == (2, 32, 48)
    assert found["bottleneck"].details["layers"] == ["pools.1 input", "pools.0 input"]
    # The decoder's map is as fine as the image: nothing to sharpen, and it says so.
    assert torch.equal(found["gradual_gradcam"].raw, found["gradcam"].raw)
    assert found["gradual_gradcam"].details["identity"]
    assert found["gradual_gradcam"].details["note"] == "same as Grad-CAM"


def test_a_decoder_block_is_sharpened_by_the_finer_encoder_stages():
    net = build(build_model, "unet", 3, width=4, depth=3)
    found = explain(net, pictures(1, (32, 32)), [GradualExtrapolation(GradCAM("decoder.blocks.0"))])["gradual_gradcam"]
    assert found.details["layers"] == ["pools.1 input", "pools.0 input"] and found.raw.shape == (1, 32, 32)
