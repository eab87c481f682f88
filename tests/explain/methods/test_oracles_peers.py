"""Where torchcam and pytorch_grad_cam depart from the definitions, seen with the installed versions; and what we do."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from helpers.libraries import agree, far, grad_cam_map, gradient, scaled, torchcam_map
from helpers.toys import DeepTail, GapNet, Given, build, pictures

from livecam.core.maps import minmax
from livecam.explain import CAM, GradCAM, GradCAMPlusPlus, SmoothGradCAMPlusPlus, XGradCAM, explain

pytestmark = pytest.mark.oracle

TARGETS = torch.tensor([3, 0, 2])


@pytest.fixture
def varying():
    """A net and a layer whose gradient varies over positions, where the look-alikes of Grad-CAM++ part."""
    return scaled(build(DeepTail), "fc", 2000).double(), pictures(3, (40, 32)).double(), TARGETS, "early"


def ours(explainer, net, images, targets):
    return explain(net, images, [explainer], targets)[explainer.name]


def plus_plus(activations, second, third, first, cube_inside):
    """Grad-CAM++ from mean powers of the gradient, in torchcam's textbook form with its epsilon."""
    total = (activations * third).sum((2, 3), keepdim=True)
    if not cube_inside:
        total = activations.sum((2, 3), keepdim=True) * third
    return ((second / (2 * second + total + 1e-8)) * first.relu()).sum((2, 3))


def combine(weights, activations):
    return minmax(torch.einsum("nk,nkhw->nhw", weights, activations).relu())


def test_torchcams_smooth_variant_puts_the_cube_inside_the_sum(varying):
    from torchcam.methods import SmoothGradCAMpp

    activations, g = gradient(*varying)
    theirs = minmax(torchcam_map(SmoothGradCAMpp, *varying, num_samples=1, std=1e-12).relu())
    inside, outside = (combine(plus_plus(activations, g**2, g**3, g, cube), activations) for cube in (True, False))
    agree(inside, theirs, 1e-6)
    agree(outside, minmax(ours(GradCAMPlusPlus("early"), *varying[:3]).raw), 1e-6)


def test_torchcams_smooth_variant_explains_its_last_noisy_image(varying):
    from torchcam.methods import SmoothGradCAMpp

    net, images = varying[:2]
    clean, _ = gradient(*varying)
    torch.manual_seed(7)
    noisy = [
        gradient(net, images + torch.distributions.Normal(0, 0.3).sample(images.shape), *varying[2:]) for _ in range(4)
    ]
    torch.manual_seed(7)
    theirs = minmax(torchcam_map(SmoothGradCAMpp, *varying, num_samples=4, std=0.3).relu())
    second, third, first = (torch.stack([g**power for _, g in noisy]).mean(0) for power in (2, 3, 1))
    last_activations, last_g = noisy[-1]
    # Their alpha is that of the clean sum, but what it weighs and what is summed come from the last noisy pass alone.
    weights = (second / (2 * second + (third * clean).sum((2, 3), keepdim=True) + 1e-8) * last_g.relu()).sum((2, 3))
    agree(combine(weights, last_activations), theirs, 1e-6)
    mean = combine(plus_plus(clean, second, third, first, cube_inside=False), clean)
    assert far(theirs, mean) > 0.05
    found = ours(SmoothGradCAMPlusPlus("early", num_samples=4, std=0.3, noise="absolute"), *varying[:3])
    # Ours draws its own noise, so it is told from theirs by more than two draws of its own differ.
    other = ours(SmoothGradCAMPlusPlus("early", num_samples=4, std=0.3, noise="absolute", seed=1), *varying[:3])
    assert far(minmax(found.raw), theirs) > 2 * far(minmax(found.raw), minmax(other.raw))


def test_grad_cams_epsilon_turns_grad_cam_plus_plus_into_another_method_at_full_resolution():
    from pytorch_grad_cam import GradCAMPlusPlus as Theirs

    weight = torch.tensor([[4.0, 1.0, 0.5], [0.0, 0.0, 0.0]])
    images = pictures(1, (224, 224)).relu() * torch.tensor([0.2, 3.0, 8.0])[:, None, None]
    net, targets = build(Given, weight), torch.tensor([0])
    theirs = grad_cam_map(Theirs, net, images, targets, "same")
    exact = combine(weight[:1] / (2 + weight[:1] * images.mean((2, 3))), images)
    cubed = combine(weight[:1] ** 3, images)
    agree(ours(GradCAMPlusPlus(), net, images, targets).map, exact, 1e-5)
    assert far(theirs, exact) > 0.1 and far(theirs, cubed) < 0.01


def test_both_libraries_xgrad_cam_depends_on_the_scale_of_the_layer():
    import pytorch_grad_cam
    import torchcam.methods

    # Activations times t and weights over t: the same function. Their epsilons are absolute, ours is relative.
    weight, images = torch.tensor([[200.0, 20.0, 0.2], [0, 0, 0]], dtype=torch.float64), pictures(1).double().relu()
    images = images * torch.tensor([1e-3, 1e-2, 1.0])[:, None, None]
    t, targets = 1e-9, torch.tensor([0])
    plain, faint = build(Given, weight).double(), build(Given, weight / t).double()
    asked = {
        "torchcam": lambda net, x: minmax(torchcam_map(torchcam.methods.XGradCAM, net, x, targets, "same")),
        "grad_cam": lambda net, x: grad_cam_map(pytorch_grad_cam.XGradCAM, net, x, targets, "same"),
        "ours": lambda net, x: ours(XGradCAM(), net, x, targets).map,
    }
    change = {name: far(ask(faint, t * images), ask(plain, images)) for name, ask in asked.items()}
    assert change["ours"] < 1e-6 and change["torchcam"] > 0.01 and change["grad_cam"] > 0.01, change


def test_torchcams_maps_fade_where_logits_are_small():
    from torchcam.methods import GradCAM as Theirs

    net, images = scaled(build(GapNet), "fc", 1e-7), pictures(3)
    with Theirs(net, "last") as extractor:
        assert extractor(TARGETS.tolist(), net(images))[0].max() < 0.2
    assert ours(GradCAM(), net, images, TARGETS).map.amax((1, 2)).eq(1).all()


def test_both_libraries_show_rounding_noise_in_full_contrast():
    from pytorch_grad_cam import GradCAM as GradCams
    from torchcam.methods import GradCAM as Torchcams

    # A constant up to three millionths, as sums over many channels in float32 are.
    images = torch.full((1, 3, 6, 6), 1000.0)
    images[0, 0, 2, 2] += 0.009
    net = build(Given, torch.tensor([[36.0, 36.0, 36.0], [0.0, 0.0, 0.0]]))
    with Torchcams(net, "same") as extractor:
        torchcams = extractor(0, net(images))[0]
    assert torchcams.max() > 0.99 and grad_cam_map(GradCams, net, images, torch.tensor([0]), "same").max() > 0.99
    found = ours(GradCAM(), net, images, 0)
    assert found.map.eq(0).all() and found.degenerate.all()


def test_torchcam_scales_before_its_map_is_enlarged_so_that_an_enlarged_map_never_reaches_one():
    from torchcam.methods import GradCAM as Theirs

    net, images = scaled(build(DeepTail), "fc", 20), pictures(3, (40, 32))
    with Theirs(net, "last") as extractor:
        small = extractor(TARGETS.tolist(), net(images))[0]
    large = F.interpolate(small[:, None], (40, 32), mode="bilinear")[:, 0]
    assert small.shape == (3, 10, 8) and large.amax((1, 2)).max() < 1
    found = ours(GradCAM(), net, images, TARGETS).map
    assert found.amax((1, 2)).eq(1).all()
    agree(found, minmax(large), 1e-5)


def test_what_the_libraries_do_not_have():
    import pytorch_grad_cam
    import torchcam.methods

    offered = {library: {name.lower() for name in dir(library)} for library in (pytorch_grad_cam, torchcam.methods)}
    assert all("gradcam" in names and "wgradcam" not in names for names in offered.values())
    assert not any(name == "cam" or "smooth" in name for name in offered[pytorch_grad_cam])


class MaxPooled(GapNet):
    """Not a CAM network: a maximum, not a mean, feeds its linear layer."""

    def forward(self, images):
        return self.fc(self.features(images).amax((2, 3)))


def test_torchcams_cam_is_signed_and_does_not_ask_for_average_pooling():
    from torchcam.methods import CAM as Theirs

    images = pictures(3)
    theirs = torchcam_map(Theirs, build(GapNet), images, TARGETS, "last", fc_layer="fc")
    torch.testing.assert_close(ours(CAM(), build(GapNet), images, TARGETS).raw, theirs)
    assert theirs.min() < 0
    net = build(MaxPooled)
    with torch.no_grad():
        score = net(images)[torch.arange(3), TARGETS]
    claimed = (
        torchcam_map(Theirs, net, images, TARGETS, "last", fc_layer="fc").mean((1, 2)) + net.fc.bias[TARGETS].detach()
    )
    assert far(claimed, score) > 0.5, "the map's mean should be the score"
    with pytest.raises(ValueError, match="CAM needs a head of global average pooling"):
        ours(CAM(), net, images, TARGETS)


def test_torchcams_metrics_judge_a_map_of_the_softmax_that_nobody_has_seen():
    from torchcam.methods import GradCAM as Theirs
    from torchcam.metrics import ClassificationMetric

    judged = []

    class Spied(Theirs):
        def __call__(self, *args, **kwargs):
            judged.extend(super().__call__(*args, **kwargs))
            return judged

    net, images = scaled(build(DeepTail), "fc", 3), pictures(3, (40, 32))
    with Spied(net, "early") as extractor:
        ClassificationMetric(extractor, partial(torch.softmax, dim=-1)).update(images, TARGETS.tolist())
    shown = minmax(torchcam_map(Theirs, net, images, TARGETS, "early"))
    agree(minmax(ours(GradCAM("early"), net, images, TARGETS).raw), shown, 1e-5)
    assert far(judged[0], shown) > 0.1
    agree(minmax(judged[0]), minmax(torchcam_map(Theirs, WithSoftmax(net), images, TARGETS, "net.early")), 1e-5)


class WithSoftmax(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        return self.net(images).softmax(1)


def test_one_logit_for_two_classes():
    from pytorch_grad_cam import GradCAM as GradCams
    from torchcam.methods import GradCAM as Torchcams

    net, images = build(GapNet, classes=1), pictures(6)
    with torch.no_grad():
        net.fc.bias -= net(images).median()
    predicted = (net(images)[:, 0] > 0).long()
    assert set(predicted.tolist()) == {0, 1}
    found = explain(net, images, [GradCAM()])["gradcam"]
    assert torch.equal(found.target, predicted)
    with GradCams(net, [net.last]) as extractor:
        theirs = torch.from_numpy(extractor(images, None))
    # Their arg max over one column is always column 0: they explain "class 1" wherever the answer was "class 0".
    agree(ours(GradCAM(), net, images, 1).map, theirs, 1e-5)
    wrong = predicted == 0
    assert far(theirs[wrong], found.map[wrong]) > 0.5
    with Torchcams(net, "last") as extractor, pytest.raises(RuntimeError):
        extractor(predicted.tolist(), net(images))
