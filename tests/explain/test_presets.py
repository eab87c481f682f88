"""The papers' settings by name, and names that wrap other names."""

import pytest
import torch
import torchvision
from helpers.toys import StagedNet, build, pictures

from livecam.explain import CAM, GradCAM, GradualExtrapolation, ScoreCAM, by_name, by_names, explain
from livecam.explain.explanation import check_names
from livecam.explain.registry import PRESETS


def test_presets_live_side_by_side():
    check_names(by_names(["gradcam", *PRESETS]))


def test_s4_is_what_the_paper_compares():
    gradcam, plus_plus, difference, softmax = by_names(["s4"])
    assert (gradcam.method, plus_plus.method) == ("gradcam", "gradcam_pp")
    assert (difference.weighting, softmax.weighting) == ("logit_diff", "softmax_logit")
    found = explain(build(StagedNet), pictures(), by_names(["s4"]))
    assert list(found) == ["s4_gradcam", "s4_gradcam_pp", "s4_scorecam_logit_diff", "s4_scorecam_softmax_logit"]


def test_s3_is_table_1_of_the_paper():
    found = by_names(["s3"])
    labels = ["Grad-CAM", "WGradCAM", "EMP", "I-GOS", "Grad-CAM + EMP", "Grad-CAM + I-GOS", "SIGCAM"]
    assert [method.label for method in found] == labels
    # Parts are the same explainers, so that base maps are computed once.
    assert found[4].base == found[5].base == found[0] and found[6].base == found[1]
    assert all(method.optimizer.iterations in (15, 300) for method in found[4:])


@pytest.fixture(scope="module")
def vgg16():
    return build(torchvision.models.vgg16, weights=None), pictures(1, (224, 224))


@pytest.mark.slow
def test_s1_on_the_papers_network(vgg16):
    base, text, code, top_down, sharp = explain(*vgg16, by_names(["s1"]), 5).values()
    assert base.raw.shape == (1, 14, 14) and text.raw.shape == code.raw.shape == (1, 224, 224)
    assert text.details["layers"] == [f"features.{i} input" for i in (23, 16, 9, 4)]
    assert code.details["layers"] == [f"features.{i} output" for i in (30, 23, 16, 9, 4)] + ["features.4 input"]
    assert top_down.raw.shape == (1, 28, 28) and sharp.raw.shape == (1, 224, 224)
    assert sharp.details["layers"] == [f"features.{i} input" for i in (16, 9, 4)]
    assert top_down.details["unclamped"].sum().abs() < 1e-5


@pytest.mark.slow
def test_s2_on_the_papers_network(vgg16):
    layer, one, neurons = (found.raw for found in explain(*vgg16, by_names(["s2"]), 5).values())
    assert layer.shape == (1, 14, 14) and not torch.equal(layer, one)
    shown = torch.zeros(14, 14)
    shown[0:13, 10:13] = 1
    assert torch.equal(neurons, one * shown)


def test_s5_is_the_report_s_study():
    saliency, coarse, fine = by_names(["s5"])
    windows = [(method.window_size, method.stride) for method in (coarse, fine)]
    assert saliency.method == "saliency" and windows == [(10, 10), (10, 5)]
    found = explain(build(StagedNet, classes=1), pictures(1, (40, 40)), [saliency, coarse, fine], 0)
    assert found["s5_occlusion_stride10"].details["grid"].shape == (1, 4, 4)
    assert found["s5_occlusion_stride5"].details["grid"].shape == (1, 7, 7)


def test_a_preset_of_another_network_says_which_layer_it_misses():
    with pytest.raises(KeyError, match=r"no layer 'features\.28'"):
        explain(build(StagedNet), pictures(), by_names(["s1"]))


def test_prefixes_wrap_any_method_by_name():
    assert by_name("gradual_gradcam") == GradualExtrapolation(GradCAM())
    assert by_name("gradual_gradual_cam").base == GradualExtrapolation(CAM())
    assert by_names(["cam", ScoreCAM(internal_batch_size=2), "gradual_cam"]) == [
        CAM(),
        ScoreCAM(internal_batch_size=2),
        by_name("gradual_cam"),
    ]


def test_explain_takes_words_too():
    assert list(explain(build(StagedNet), pictures(), ["cam", GradCAM()])) == ["cam", "gradcam"]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("gradcam", r"Methods come as a list, such as \['gradcam'\]"),
        (GradCAM(), "Methods come as a list"),
        ([GradCAM], r"such as GradCAM\(\), or a name"),
        ([3], r"such as GradCAM\(\), or a name"),
    ],
)
def test_what_is_no_list_of_methods(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        by_names(wrong)


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("gradual_gradcm", "Did you mean gradual_gradcam"),
        ("gradual_", "gradual_cam"),
        ("gradul_gradcam", "Did you mean gradual_gradcam"),
        ("s6", "s[1-5]"),
        ("scorcam", "scorecam"),
    ],
)
def test_misspelt_names(written, hint):
    with pytest.raises(ValueError, match=f"Unknown method '{written}'.*{hint}"):
        by_names([written])
