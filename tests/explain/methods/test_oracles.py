"""Agreement with the two best-known libraries, after min-max, each within a tolerance of its own.

Run with ``-m oracle`` and the dependency group ``oracles``; a missing library fails, it does not skip.
Where their results differ from the definitions, test_oracles_peers.py and its neighbors pin how.
"""

import copy

import pytest
import torch
import torchvision
from helpers.libraries import agree, grad_cam_map, gradient, scaled, torchcam_map
from helpers.toys import DeepTail, GapNet, build, pictures

from livecam.core.maps import minmax
from livecam.explain import CAM, GradCAM, GradCAMPlusPlus, LayerCAM, XGradCAM, explain

pytestmark = pytest.mark.oracle


def resnet():
    return scaled(build(torchvision.models.resnet18, weights=None, num_classes=10), "fc", 100)


FINAL = ["toy", "resnet18", "mobilenet"]
at_the_final_layer = pytest.mark.parametrize("case", FINAL, indirect=True)


@pytest.fixture(params=[*FINAL, *(f"{name}, non-final" for name in FINAL)])
def case(request):
    """A net, images, targets, a layer and the path of the head."""
    name, _, where = request.param.partition(", ")
    if name == "mobilenet":
        images, targets = request.getfixturevalue("photos")
        net, head, final, inner = request.getfixturevalue("mobilenet"), "classifier.1", "features", "features.13"
    elif name == "resnet18":
        images, targets = pictures(3, (96, 64)), torch.tensor([0, 4, 9])
        net, head, final, inner = resnet(), "fc", "layer4", "layer3"
    else:
        images, targets = pictures(3, (40, 32)), torch.tensor([3, 0, 2])
        make = DeepTail if where else GapNet
        net, head, final, inner = scaled(build(make), "fc", 100), "fc", "last", "early"
    if name != "mobilenet":
        # Random weights cancel almost to nothing; in double precision the formulas are compared, not the rounding.
        net, images = net.double(), images.double()
    return net, images, targets, inner if where else final, head


@at_the_final_layer
def test_cam_and_torchcam(case):
    from torchcam.methods import CAM as Theirs

    net, images, targets, layer, head = case
    theirs = torchcam_map(Theirs, net, images, targets, layer, fc_layer=head)
    agree(minmax(explain(net, images, [CAM()], targets)["cam"].raw), minmax(theirs), 1e-6)


@pytest.mark.parametrize(("ours", "name"), [(GradCAM, "GradCAM"), (XGradCAM, "XGradCAM"), (LayerCAM, "LayerCAM")])
def test_torchcam(case, ours, name):
    import torchcam.methods

    net, images, targets, layer, _ = case
    theirs = torchcam_map(getattr(torchcam.methods, name), net, images, targets, layer).relu()
    agree(minmax(explain(net, images, [ours(layer, name="x")], targets)["x"].raw), minmax(theirs), 1e-6)


@pytest.mark.parametrize(("ours", "name"), [(GradCAM, "GradCAM"), (XGradCAM, "XGradCAM"), (LayerCAM, "LayerCAM")])
def test_grad_cam(case, ours, name):
    import pytorch_grad_cam

    net, images, targets, layer, _ = case
    theirs = grad_cam_map(getattr(pytorch_grad_cam, name), net, images, targets, layer)
    # Where activations are signed, sums near zero feel the epsilon in their XGrad-CAM's denominator.
    tolerance = 1e-4 if (name, layer) == ("XGradCAM", "features.13") else 1e-6
    agree(explain(net, images, [ours(layer, name="x")], targets)["x"].map, theirs, tolerance)


@pytest.fixture
def loud(case):
    """The case with a head so large that g^2 dwarfs the 1e-6 in pytorch_grad_cam's denominator; undone afterwards."""
    net, images, targets, layer, head = case
    g = gradient(net, images, targets, layer)[1]
    factor = 1e3 / float(g.abs().amax())
    scaled(net, head, factor)
    yield net, images, targets, layer
    scaled(net, head, 1 / factor)


def test_grad_cam_plus_plus_and_grad_cam(loud):
    from pytorch_grad_cam import GradCAMPlusPlus as Theirs

    net, images, targets, layer = loud
    activations, g = gradient(net, images, targets, layer)
    assert g.square().max() > 0.1
    ours = explain(net, images, [GradCAMPlusPlus(layer)], targets)["gradcam_pp"]
    theirs = grad_cam_map(Theirs, net, images, targets, layer)
    if layer == "features.13":
        # Signed activations give alpha poles: the library keeps what we leave out and count.
        assert activations.min() < 0 and ours.details["singular"].any()
        assert (ours.map - theirs).abs().max() > 1e-2
    else:
        agree(ours.map, theirs, 1e-4)


@at_the_final_layer  # elsewhere it puts the cube inside the sum
def test_grad_cam_plus_plus_and_torchcams_smooth_one_without_noise(loud):
    from torchcam.methods import SmoothGradCAMpp

    net, images, targets, layer = loud
    # Their noise comes from the global generator and cannot be switched off: in float32 it would stir the last digits.
    net, images, targets = copy.deepcopy(net).double(), images[:2].double(), targets[:2]
    theirs = torchcam_map(SmoothGradCAMpp, net, images, targets, layer, num_samples=2, std=1e-7).relu()
    agree(minmax(explain(net, images, [GradCAMPlusPlus()], targets)["gradcam_pp"].raw), minmax(theirs), 1e-5)


@pytest.mark.parametrize("layer", ["last", "early"])
def test_torchcams_grad_cam_plus_plus_is_the_cubed_gradient(layer):
    from torchcam.methods import GradCAMpp

    net, images, targets = scaled(build(DeepTail), "fc", 20), pictures(3, (40, 32)), torch.tensor([3, 0, 2])
    theirs = torchcam_map(GradCAMpp, net, images, targets, layer)
    activations, g = gradient(net, images, targets, layer)
    cubed = torch.einsum("nk,nkhw->nhw", g.relu().pow(3).sum((2, 3)), activations)
    torch.testing.assert_close(theirs, cubed.relu(), rtol=1e-5, atol=1e-6 * float(cubed.max()))
    ours = explain(net, images, [GradCAMPlusPlus(layer)], targets)["gradcam_pp"].raw
    assert (minmax(ours) - minmax(theirs)).abs().max() > 0.05


def test_torchcams_smooth_variant_differs_where_the_gradient_varies():
    from torchcam.methods import SmoothGradCAMpp

    net, images, targets = scaled(build(DeepTail), "fc", 20), pictures(3, (40, 32)), torch.tensor([3, 0, 2])
    theirs = torchcam_map(SmoothGradCAMpp, net, images, targets, "early", num_samples=1, std=1e-7).relu()
    ours = explain(net, images, [GradCAMPlusPlus("early")], targets)["gradcam_pp"].raw
    assert (minmax(ours) - minmax(theirs)).abs().max() > 1e-2
