"""Gradual Extrapolation as its author published it: the behavior of that code, re-told here, against ``reference``."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from helpers.libraries import far
from helpers.toys import build, pictures
from torch import nn

from livecam.explain import GradCAM, GradualExtrapolation, explain


def hooked(net, images):
    """Outputs of all max pools and strided convolutions as they run, behind the input of the first of them."""
    seen = []

    def keep(module, args, output):
        if not seen:
            seen.append(args[0].clone())
        seen.append(output.clone())

    wanted = (m for m in net.modules() if isinstance(m, nn.MaxPool2d | nn.Conv2d))
    handles = [m.register_forward_hook(keep) for m in wanted if isinstance(m, nn.MaxPool2d) or m.stride > (1, 1)]
    with torch.no_grad():
        net(images)
    for handle in handles:
        handle.remove()
    return seen


def published(net, images, maps):
    """From the last tensor to the first; maxima, mean and deviation are those of the whole batch."""
    for tensor in reversed(hooked(net, images)):
        maps = F.interpolate(maps[:, None], tensor.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        maps = maps * (tensor.sum(1) / tensor.max())
    standard = ((maps - maps.mean()) / maps.std()).clamp(-1, 1)
    return (standard - standard.min()) / (standard.max() - standard.min())


def small_vgg():
    """Two pools and a final stage, every convolution followed by an in-place ReLU."""
    widths = [(3, 6), "pool", (6, 8), "pool", (8, 10)]
    layers = [
        nn.MaxPool2d(2) if w == "pool" else nn.Sequential(nn.Conv2d(*w, 3, padding=1), nn.ReLU(True)) for w in widths
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 4))


CASES = {
    "vgg-like": (small_vgg, "4", (32, 40)),
    "vgg11": (lambda: torchvision.models.vgg11(weights=None, num_classes=5), "features.18", (64, 96)),
    "resnet18": (lambda: torchvision.models.resnet18(weights=None, num_classes=5), "layer4", (64, 96)),
}


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[pytest.mark.slow] * (name == "vgg11")) for name in CASES]
)
def case(request):
    make, layer, size = CASES[request.param]
    return build(make).double(), pictures(4, size).double(), layer


def both(net, images, layer):
    """Ours and the published code's, from the same base map."""
    base = GradCAM(layer)
    found = explain(net, images, [base, GradualExtrapolation(base, layers="reference")], 1)
    assert not found["gradcam"].degenerate.any()
    return found["gradual_gradcam"].raw, published(net, images, found["gradcam"].raw)


def test_one_image(case):
    net, images, layer = case
    for image in images:
        ours, theirs = both(net, image[None], layer)
        assert theirs.min() == 0 and theirs.max() == 1 and theirs.std() > 0.02
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_neighbors_in_a_batch(case):
    net, images, layer = case
    images = images * torch.tensor([1, 0.3, 2, 1])[:, None, None, None]
    ours, theirs = both(net, images, layer)
    alone, published_alone = both(net, images[1:2], layer)
    torch.testing.assert_close(ours[1], alone[0], atol=1e-9, rtol=0)
    assert far(theirs[1], published_alone[0]) > 0.1


def test_residual_networks_are_read_where_contributions_are_signed_and_twice_per_stage():
    net, images, layer = build(CASES["resnet18"][0]), pictures(1, (64, 96)), "layer4"
    tensors = hooked(net, images)
    assert len(tensors) == 1 + 8 and torch.equal(tensors[0], images)
    # All but the max pool's: convolutions are read in front of their batch norms, and so is the image.
    assert sum(bool(tensor.min() < 0) for tensor in tensors) == 8
    explainers = [GradualExtrapolation(GradCAM(layer), layers=choice, name=choice) for choice in ("reference", "auto")]
    reference, automatic = explain(net, images, explainers, 1).values()
    assert len(reference.details["layers"]) == len(tensors)
    # What the paper's text asks for: one contribution per resolution, positive, never the image itself.
    assert len(automatic.details["layers"]) == 4 and automatic.raw.min() >= 0
    assert far(reference.map, automatic.map) > 0.1


def test_average_pools_are_not_seen_by_the_published_code_and_are_by_us():
    layers = [nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()), nn.AvgPool2d(2)]
    layers += [nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()), nn.MaxPool2d(2)]
    layers += [nn.Sequential(nn.Conv2d(8, 10, 3, padding=1), nn.ReLU()), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    net, images = build(nn.Sequential, *layers, nn.Linear(10, 4)), pictures(1, (32, 40))
    assert [tensor.shape[-2:] for tensor in hooked(net, images)] == [(16, 20), (8, 10)]
    found = explain(net, images, [GradualExtrapolation(GradCAM())], 1)["gradual_gradcam"]
    assert found.details["layers"] == ["3 input", "1 input"] and found.raw.shape == (1, 32, 40)
