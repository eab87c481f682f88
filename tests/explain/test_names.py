"""Names of layers and of methods, as people write and mistype them."""

import pytest
from helpers.toys import GapNet, build, pictures
from torch import nn

from livecam.explain import Explainer, GradCAM, GradCAMPlusPlus, by_name, explain, explainer_classes
from livecam.explain.recording.layer_names import clean, resolve_layer

LAYERS = ["model", "model.layer4", "model.layer4.0", "model.layer4.1", "model.layer4.0.conv1", "model.layer4.1.conv1"]


@pytest.mark.parametrize(
    ("written", "full"),
    [
        ("model.layer4", "model.layer4"),
        ("layer4", "model.layer4"),
        ("layer4.1", "model.layer4.1"),
        ("_orig_mod.model.layer4", "model.layer4"),
        ("0.conv1", "model.layer4.0.conv1"),
        ("model", "model"),
    ],
)
def test_full_names_and_unique_suffixes(written, full):
    assert resolve_layer(written, LAYERS) == full


def test_a_suffix_ends_at_a_dot():
    with pytest.raises(KeyError, match="no layer 'ayer4'"):
        resolve_layer("ayer4", LAYERS)


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("conv1", "ambiguous: model.layer4.0.conv1, model.layer4.1.conv1. Use the full name"),
        ("layer5", "no layer 'layer5'.*Did you mean.*model.layer4"),
        ("model.layr4", "no layer 'model.layr4'.*Did you mean model.layer4"),
        ("zzz", "no layer 'zzz'. Its layers are model, model.layer4"),
    ],
)
def test_names_that_fit_none_or_several(written, sentence):
    with pytest.raises(KeyError, match=sentence):
        resolve_layer(written, LAYERS)


def test_compilers_part_of_a_name_is_dropped_anywhere():
    assert clean("_orig_mod.net._orig_mod.layer") == "net.layer"
    assert clean("_orig_mod") == ""


def test_layers_of_a_wrapped_net_answer_to_their_own_names():
    wrapped = nn.Sequential(build(GapNet), nn.Identity())
    images = pictures()
    inner, full = GradCAM(layer="conv"), GradCAM(layer="0.conv", name="full")
    found = explain(wrapped, images, [inner, full])
    assert found["gradcam"].raw.equal(found["full"].raw)
    with pytest.raises(KeyError, match=r"Did you mean.*0\.conv"):
        explain(wrapped, images, [GradCAM(layer="convv")])


def test_every_method_is_built_by_its_name():
    for name, cls in explainer_classes().items():
        if not cls.__module__.startswith("livecam."):
            continue
        explainer = by_name(name)
        assert type(explainer) is cls and explainer.name == name and explainer.label
        assert hash(explainer) == hash(by_name(name)) and explainer == by_name(name)


def test_names_of_the_specification():
    names = {"CAM": "cam", "GradCAM": "gradcam", "GradCAMPlusPlus": "gradcam_pp", "XGradCAM": "xgradcam"}
    names |= {"LayerCAM": "layercam", "WGradCAM": "wgradcam"}
    assert {cls.__name__: name for name, cls in explainer_classes().items() if cls.__name__ in names} == names


@pytest.mark.parametrize(
    ("written", "hint"),
    [("grad_cam", "Did you mean.*gradcam"), ("gradcampp", "Did you mean.*gradcam_pp"), ("qqqq", "Methods: .*gradcam")],
)
def test_unknown_methods(written, hint):
    with pytest.raises(ValueError, match=f"Unknown method '{written}'. {hint}"):
        by_name(written)


@pytest.mark.parametrize("name", ["Grad-CAM", "grad cam", "a/b", "", "a\n"])
def test_names_that_cannot_be_metric_keys(name):
    with pytest.raises(ValueError, match="becomes a metric key: use lower-case letters, digits and '_'"):
        GradCAM(name=name)


def test_two_explainers_of_one_name_are_refused_before_any_forward():
    net = build(GapNet)
    net.forward = lambda images: pytest.fail("the model ran")
    with pytest.raises(ValueError, match=r"Two explainers are called 'gradcam'.*name='gradcam_2'"):
        explain(net, pictures(), [GradCAM(), GradCAM(layer="conv")])


def test_the_layer_may_be_given_first():
    # As in other libraries; a metric key must be meant.
    assert GradCAM("conv") == GradCAM(layer="conv")
    assert GradCAMPlusPlus("conv").name == "gradcam_pp"


def test_a_users_method_is_found_by_its_name():
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Flat(Explainer):
        method = "flat_of_this_test"
        label = "Flat"

        def explain(self, recording):
            return recording.images.mean(1)

    images = pictures()
    found = explain(build(GapNet), images, [by_name("flat_of_this_test")])["flat_of_this_test"]
    assert found.raw.equal(images.mean(1)) and found.details == {}
