"""Captum's attributions as methods of ours: what Captum gives, and nothing of it left behind."""

import sys
import warnings
from types import SimpleNamespace

import pytest
import torch
from helpers.toys import NormTail, StagedNet, build, pictures
from torch import nn

from livecam.core.normalization import IMAGENET
from livecam.explain import Capture, GradualExtrapolation, by_name, explain, explainer_classes, structure_of
from livecam.explain.methods.captum import CaptumExplainer
from livecam.explain.registry import wrappers

pytestmark = pytest.mark.oracle

TARGETS = torch.tensor([3, 1])
FAST = {"n_samples": 40, "perturbations_per_eval": 8}


class Reused(StagedNet):
    """One ReLU module in two places, as in torchvision's residual blocks."""

    def features(self, images):
        return self.first(self.conv(self.pool(self.first(self.norm(self.stem(images))))))


def quarters(pixels, method, arguments):
    """Stands in for superpixels: four quarters, with labels that have gaps."""
    assert pixels.shape == (3, 24, 24) and method == "slic" and arguments == (4,)
    rows, columns = torch.arange(24)[:, None] // 12, torch.arange(24)[None] // 12
    return (5 + 2 * rows + 7 * columns)[None]


@pytest.fixture(autouse=True)
def superpixels(monkeypatch):
    monkeypatch.setitem(sys.modules, "livecam.explain.methods.segmentation", SimpleNamespace(segment=quarters))


def run(net, images, explainer, targets=None, **kwargs):
    return explain(net, images, [explainer], targets, normalization=IMAGENET, **kwargs)[explainer.name]


def theirs(name, net, *layer, images=None, targets=TARGETS, **kwargs):
    import captum.attr

    images = (pictures() if images is None else images).clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = getattr(captum.attr, name)(net, *layer).attribute(images, target=targets, **kwargs)
    return found.detach()


@pytest.mark.parametrize("name", ["Saliency", "DeepLift", "LayerGradCam", "GuidedGradCam", "InputXGradient"])
def test_gives_what_captum_gives(name):
    net, images = build(StagedNet), pictures()
    expected = theirs(name, net, *([net.last] if "GradCam" in name else []))
    for reduce, by_hand in {
        "sum": expected.sum(1),
        "max": expected.abs().amax(1),
        "l2": expected.square().sum(1).sqrt(),
    }.items():
        found = run(net, images, CaptumExplainer(name, reduce=reduce), TARGETS)
        torch.testing.assert_close(found.raw, by_hand, atol=1e-7, rtol=1e-5)
        assert found.raw.any()
    inner = theirs(name, net, *([net.conv] if "GradCam" in name else []))
    layer = "conv" if "GradCam" in name else None
    torch.testing.assert_close(run(net, images, CaptumExplainer(name, layer=layer), TARGETS).raw, inner.sum(1))


def test_what_draws_gives_for_every_image_what_captum_gives_with_this_seed():
    net, images = build(StagedNet), pictures()
    mask = quarters(images[0], "slic", (4,))[None].unique(return_inverse=True)[1].view(1, 1, 24, 24)
    found = run(net, images, CaptumExplainer("Lime", FAST, segments=4, seed=7), TARGETS).raw
    for i in range(2):
        torch.manual_seed(7)
        alone = theirs("Lime", net, images=images[i : i + 1], targets=TARGETS[i : i + 1], feature_mask=mask, **FAST)
        torch.testing.assert_close(found[i], alone[0].sum(0))
    assert found.any()
    assert not found.equal(run(net, images, CaptumExplainer("Lime", FAST, segments=4), TARGETS).raw)


def test_what_is_of_no_class():
    net, images = build(StagedNet), pictures()
    features = net.features(images).detach()
    torch.testing.assert_close(run(net, images, CaptumExplainer("LayerActivation")).raw, features.sum(1))
    neuron = CaptumExplainer("NeuronGradient", {"neuron_selector": [2, 5, 5]}, layer="conv")
    found = run(net, images, neuron, TARGETS).raw
    assert found.any() and found.shape == (2, 24, 24) and torch.equal(found, run(net, images, neuron, 0).raw)


@pytest.mark.parametrize("name", ["Saliency", "InputXGradient", "IntegratedGradients", "DeepLift", "Occlusion"])
def test_one_logit_has_two_classes(name):
    net, images = build(StagedNet, classes=1), pictures()
    window = {"sliding_window_shapes": [3, 6, 6], "strides": [3, 6, 6]} if name == "Occlusion" else {}
    zero, one = (run(net, images, CaptumExplainer(name, window), target).raw for target in (0, 1))
    torch.testing.assert_close(zero, one if name == "Saliency" else -one, atol=1e-7, rtol=1e-5)
    tuples = {key: tuple(value) for key, value in window.items()}
    torch.testing.assert_close(one, theirs(name, net, targets=0, **tuples).sum(1), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", ["DeepLift", "GuidedBackprop", "Deconvolution", "GuidedGradCam", "LRP"])
def test_in_place_rectifiers_are_no_matter(name):
    net, images = build(StagedNet, inplace=True), pictures()
    found = run(net, images, CaptumExplainer(name), TARGETS)
    assert torch.equal(found.raw, run(build(StagedNet), images, CaptumExplainer(name), TARGETS).raw)
    assert net.first.inplace is net.last.inplace is True and found.raw.any()


@pytest.mark.parametrize("name", ["GuidedBackprop", "Deconvolution", "GuidedGradCam", "DeepLift"])
@pytest.mark.parametrize("inplace", [False, True])
def test_functional_rectifiers_are_warned_of(name, inplace):
    remedy = {"DeepLift": "an nn.ReLU of its own", "Deconvolution": "livecam's Deconvnet"}.get(name, "GuidedBackprop")
    with pytest.warns(UserWarning, match=rf"Captum's {name} overlooks .*network: 1\), .*{remedy}") as caught:
        run(build(NormTail, inplace), pictures(), CaptumExplainer(name), TARGETS)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(build(StagedNet), pictures(), CaptumExplainer(name), TARGETS)
        run(build(NormTail, inplace), pictures(), CaptumExplainer("Saliency"), TARGETS)


def test_relu6_modules_are_rectifiers_that_captum_does_not_hook():
    net = build(StagedNet)
    net.first = nn.ReLU6(inplace=True)
    with pytest.warns(UserWarning, match=r"overlooks .*network: 1\)"):
        run(net, pictures(), CaptumExplainer("GuidedBackprop"), TARGETS)


def test_deep_lift_of_modules_that_run_twice_is_refused():
    net, images = build(Reused), pictures()
    with pytest.raises(RuntimeError, match="used more than once"):
        theirs("DeepLift", net)
    with pytest.raises(ValueError, match=r"DeepLift needs modules that run once.*first run several times"):
        run(net, images, CaptumExplainer("DeepLift"), TARGETS)
    guided = run(net, images, CaptumExplainer("GuidedBackprop"), TARGETS).raw
    torch.testing.assert_close(guided, theirs("GuidedBackprop", net).sum(1))


def test_baselines_as_words_and_where_captum_wants_several():
    net, images = build(StagedNet), pictures()
    baseline = images.mean((2, 3), keepdim=True).expand_as(images)
    found = run(net, images, CaptumExplainer("DeepLift", {"baselines": "mean"}), TARGETS).raw
    torch.testing.assert_close(found, theirs("DeepLift", net, baselines=baseline).sum(1))
    shap = run(net, images, CaptumExplainer("DeepLiftShap"), TARGETS).raw
    torch.testing.assert_close(shap, run(net, images, CaptumExplainer("DeepLift"), TARGETS).raw)
    with pytest.raises(ValueError, match=r"baselines='blurr'.*Did you mean blur"):
        CaptumExplainer("DeepLift", {"baselines": "blurr"})


@pytest.mark.parametrize("name", ["KernelShap", "FeatureAblation", "ShapleyValueSampling"])
def test_superpixels_are_perturbed_as_one(name):
    options = {} if name == "FeatureAblation" else {"n_samples": 10}
    found = run(build(StagedNet), pictures(), CaptumExplainer(name, options, segments=4), TARGETS).raw
    for rows in (slice(12), slice(12, 24)):
        for columns in (slice(12), slice(12, 24)):
            part = found[:, rows, columns].flatten(1)
            assert torch.equal(part, part[:, :1].expand_as(part))
    assert len(found[0].unique()) == 4
    with pytest.raises(ValueError, match="Superpixels are cut in pixels: pass normalization"):
        explain(build(StagedNet), pictures(), [CaptumExplainer(name, options, segments=4)])


def test_superpixels_of_slic(monkeypatch):
    monkeypatch.delitem(sys.modules, "livecam.explain.methods.segmentation")
    from livecam.explain.methods.segmentation import segment

    # Large flat patches, because SLIC finds one segment in noise.
    images = nn.functional.interpolate(pictures(2, (3, 3)), size=(48, 48))
    found = run(build(StagedNet), images, CaptumExplainer("FeatureAblation", segments=6), TARGETS).raw
    for raw, image in zip(found, images):
        labels = segment(IMAGENET.to_pixels(image), "slic", (6,))[0]
        assert len(labels.unique()) > 1
        assert all(len(raw[labels == label].unique()) == 1 for label in labels.unique())


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({"attribution": "deep_lyft"}, "no attribution 'deep_lyft'. Did you mean DeepLift"),
        ({"attribution": "qqqq"}, "no attribution 'qqqq'. It may be .*Saliency"),
        ({"attribution": "NoiseTunnel"}, "no attribution 'NoiseTunnel'"),
        ({"attribution": "FeaturePermutation"}, "no attribution 'FeaturePermutation'"),
        ({"attribution": "Saliency", "options": {"abss": 1}}, "'abss' is not one of abs. Did you mean abs"),
        ({"attribution": "Saliency", "options": {"target": 1}}, "'target' is not one of"),
        ({"attribution": "Saliency", "layer": "conv"}, "reads no layer"),
        ({"attribution": "Saliency", "segments": 5}, "knows no superpixels"),
        ({"attribution": "Lime", "segments": 0}, "segments is a whole number from 1"),
        ({"attribution": "Lime", "reduce": "mean"}, "reduce='mean' is not one of sum, max, l2"),
    ],
)
def test_what_captum_does_not_have(kwargs, sentence):
    with pytest.raises(ValueError, match=sentence):
        CaptumExplainer(**kwargs)


def test_results_that_are_no_maps_and_layers_that_are_none():
    with pytest.raises(ValueError, match=r"fc.*\(2, 4\).*choose a convolutional layer"):
        run(build(StagedNet), pictures(), CaptumExplainer("LayerActivation", layer="fc"), TARGETS)
    with pytest.raises(ValueError, match=r"Captum GuidedGradCam gave \(0,\) for 2 images.*a convolutional layer"):
        run(build(StagedNet), pictures(), CaptumExplainer("GuidedGradCam", layer="fc"), TARGETS)
    for name in ("GuidedGradCam", "LayerGradCam"):
        with pytest.raises(KeyError, match=r"no layer 'lst'.*Did you mean.*last"):
            run(build(StagedNet), pictures(), CaptumExplainer(name, layer="lst"))


def test_without_captum(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(ValueError, match=r"needs Captum: pip install 'livecam\[captum\]'"):
        by_name("captum_deep_lift")
    assert by_name("gradcam").name == "gradcam"


def test_words():
    explainer = by_name("captum_deep_lift")
    assert explainer == CaptumExplainer("DeepLift") == CaptumExplainer("deeplift") and hash(explainer)
    assert (explainer.name, explainer.label, explainer.signed) == ("captum_deep_lift", "Captum DeepLift", True)
    assert not CaptumExplainer("DeepLift", reduce="max").signed
    names = {"InputXGradient": "captum_input_x_gradient", "LayerLRP": "captum_layer_lrp", "Lime": "captum_lime"}
    assert {name: CaptumExplainer(name).name for name in names} == names
    assert all(by_name(name).name == name for name in names.values())
    assert CaptumExplainer("Lime", name="own").name == "own"
    assert CaptumExplainer("Occlusion", {"strides": [3, [8, 8]]}).options == {"strides": (3, (8, 8))}
    with pytest.raises(ValueError, match="Did you mean DeepLift"):
        by_name("captum_deep_lyft")
    assert "captum_" not in wrappers() and CaptumExplainer not in explainer_classes().values()


def test_gradual_extrapolation_of_a_layers_map():
    net, images = build(StagedNet), pictures()
    structure = structure_of(net, images)
    assert CaptumExplainer("LayerGradCam").captures(structure) == [Capture(None)]
    assert CaptumExplainer("GuidedGradCam").captures(structure) == []
    at_input = CaptumExplainer("LayerGradCam", {"attribute_to_layer_input": True}, layer="conv")
    assert at_input.captures(structure) == [Capture("conv", at="input")]
    sharp = run(net, images, GradualExtrapolation(CaptumExplainer("layer_grad_cam")), TARGETS)
    assert sharp.raw.shape == (2, 24, 24) and not sharp.details["identity"] and sharp.raw.any()
    assert by_name("gradual_captum_layer_grad_cam").base == CaptumExplainer("LayerGradCam")
