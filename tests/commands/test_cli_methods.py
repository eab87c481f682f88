"""Methods as configurations and command lines name them: class paths, short class names, nested bases, words."""

import pytest
from test_cli import FIRST, refused, set_at

from livecam import cli
from livecam.explain import (
    AOP,
    EMP,
    IGOS,
    RISE,
    SIGCAM,
    XRAI,
    CaptumExplainer,
    ContrastiveExcitationBackprop,
    GradCAM,
    GradualExtrapolation,
    IntegratedGradients,
    Occlusion,
    ScoreCAM,
    SmoothGradCAMPlusPlus,
    VarGrad,
    by_name,
    by_names,
)

EXPLAINERS = FIRST.removesuffix("/0")


def parsed(config, explainers):
    """The explainers of the gallery that a configuration builds."""
    path = config(set_at(EXPLAINERS, explainers))
    return next(
        c
        for c in cli.train(["fit", "-c", path, "--trainer.fast_dev_run", "1"]).trainer.callbacks
        if hasattr(c, "explainers")
    ).explainers


def test_every_way_to_write_a_method(config):
    nested = {
        "class_path": "GradualExtrapolation",
        "init_args": {"base": {"class_path": "GradCAM", "init_args": {"layer": "bottleneck"}}, "q": "l2"},
    }
    explicit = {
        "class_path": "livecam.explain.GradualExtrapolation",
        "init_args": {"base": {"class_path": "livecam.explain.GradCAM"}, "layers": ["pools.0"], "name": "explicit"},
    }
    smooth = {
        "class_path": "SmoothGradCAMPlusPlus",
        "init_args": {"num_samples": 2, "filters": [0, 1], "region": True, "subset": [[0, 0], [3, 4]]},
    }
    score = {"class_path": "ScoreCAM", "init_args": {"weighting": "logit_diff", "internal_batch_size": 4}}
    found = parsed(config, [nested, explicit, smooth, score, "layercam", "s4", {"class_path": "GradCAM"}])
    assert found == [
        GradualExtrapolation(GradCAM("bottleneck"), q="l2"),
        GradualExtrapolation(GradCAM(), layers=("pools.0",), name="explicit"),
        SmoothGradCAMPlusPlus(num_samples=2, filters=(0, 1), region=True, subset=((0, 0), (3, 4))),
        ScoreCAM(weighting="logit_diff", internal_batch_size=4),
        by_name("layercam"),
        *by_names(["s4"]),
        GradCAM(),
    ]


def test_methods_of_pixels_regions_and_the_top_down_pass(config):
    written = [
        {"class_path": "Occlusion", "init_args": {"window_size": [7, 5], "stride": 4, "baseline": [1.0, 0.0, 0.5]}},
        {"class_path": "IntegratedGradients", "init_args": {"n_steps": 3, "baseline": ["black", "white"]}},
        {"class_path": "XRAI", "init_args": {"base": "saliency", "scales": [10, 20]}},
        {"class_path": "XRAI", "init_args": {"base": {"class_path": "VarGrad"}, "name": "regions"}},
        {"class_path": "ContrastiveExcitationBackprop", "init_args": {"layer": "bottleneck", "clamp_negative": True}},
        {"class_path": "GradualExtrapolation", "init_args": {"base": {"class_path": "ExcitationBackprop"}}},
        {"class_path": "RISE", "init_args": {"num_masks": 20, "upsampling": "nearest"}},
        {"class_path": "CaptumExplainer", "init_args": {"attribution": "DeepLift", "options": {"baselines": 0}}},
        "guided_backprop",
        "xrai_gradcam",
        "captum_input_x_gradient",
        "s5",
    ]
    pytest.importorskip("captum", reason="CaptumExplainer needs captum")
    found = parsed(config, written)
    assert found == [
        Occlusion((7, 5), 4, baseline=(1.0, 0.0, 0.5)),
        IntegratedGradients(3, ("black", "white")),
        XRAI("saliency", scales=(10, 20)),
        XRAI(VarGrad(), name="regions"),
        ContrastiveExcitationBackprop("bottleneck", clamp_negative=True),
        GradualExtrapolation("excitation_backprop"),
        RISE(20, upsampling="nearest"),
        CaptumExplainer("DeepLift", {"baselines": 0}),
        *by_names(["guided_backprop", "xrai_gradcam", "captum_input_x_gradient", "s5"]),
    ]


def test_methods_that_optimize_masks(config):
    few = {"class_path": "IGOS", "init_args": {"iterations": 2, "line_search": "integrated", "baseline": [31, 9.0]}}
    written = [
        few,
        {"class_path": "EMP", "init_args": {"preset": "fv2017", "iterations": 3, "l1": 0.5}},
        {"class_path": "AOP", "init_args": {"base": "gradual_gradcam", "optimizer": few, "theta": 0.5, "warmup": 1}},
        {
            "class_path": "SIGCAM",
            "init_args": {"preset": "coco", "optimizer": few, "warmup": 0, "warmup_baseline": [5, 2]},
        },
        "emp_gradcam(iterations=40)",
    ]
    igos = IGOS(2, line_search="integrated", baseline=(31, 9.0))
    assert parsed(config, written) == [
        igos,
        EMP(3, preset="fv2017", l1=0.5),
        AOP("gradual_gradcam", igos, theta=0.5, warmup=1),
        SIGCAM(preset="coco", optimizer=igos, warmup=0, warmup_baseline=(5, 2)),
        AOP("gradcam", EMP(40)),
    ]


@pytest.mark.parametrize(
    ("explainer", "sentence"),
    [
        ("gradual_gradcm", "Did you mean gradual_gradcam"),
        ({"class_path": "GradualExtrapolatio"}, "Did you mean GradualExtrapolation"),
        ({"class_path": "GradualExtrapolation"}, "base"),
        ({"class_path": "ScoreCAM", "init_args": {"weighting": "softmax"}}, "weighting"),
        (
            {"class_path": "ScoreCAM", "init_args": {"internal_batchsize": 3}},
            "There is no argument 'internal_batchsize'. Did you mean internal_batch_size",
        ),
        ({"class_path": "Occlusion", "init_args": {"window_size": 0}}, "window_size is a whole number of pixels"),
        ({"class_path": "XRAI", "init_args": {"segmentation": "slick"}}, "segmentation"),
        ({"class_path": "IntegratedGradients", "init_args": {"baseline": "blak"}}, "Did you mean black"),
        ({"class_path": "SmoothGradCAMPlusPlus", "init_args": {"region": True}}, "two corners"),
        ({"class_path": "SmoothGradCAMPlusPlus", "init_args": {"filters": ["a"]}}, "filters"),
    ],
)
def test_misspelt_methods(config, capsys, explainer, sentence):
    assert sentence in refused(capsys, "fit", "-c", config(set_at(FIRST, explainer)))
