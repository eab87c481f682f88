"""Methods as configurations and command lines name them: class paths, short class names, nested bases, words."""

import pytest
from test_cli import FIRST, refused, set_at

from livecam import cli
from livecam.explain import GradCAM, GradualExtrapolation, ScoreCAM, SmoothGradCAMPlusPlus, by_name, by_names

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
        "init_args": {"nsamples": 2, "filters": [0, 1], "region": True, "subset": [[0, 0], [3, 4]]},
    }
    score = {"class_path": "ScoreCAM", "init_args": {"weighting": "logit_diff", "chunk": 4}}
    found = parsed(config, [nested, explicit, smooth, score, "layercam", "s4", {"class_path": "GradCAM"}])
    assert found == [
        GradualExtrapolation(GradCAM("bottleneck"), q="l2"),
        GradualExtrapolation(GradCAM(), layers=("pools.0",), name="explicit"),
        SmoothGradCAMPlusPlus(nsamples=2, filters=(0, 1), region=True, subset=((0, 0), (3, 4))),
        ScoreCAM(weighting="logit_diff", chunk=4),
        by_name("layercam"),
        *by_names(["s4"]),
        GradCAM(),
    ]


@pytest.mark.parametrize(
    ("explainer", "sentence"),
    [
        ("gradual_gradcm", "Did you mean gradual_gradcam"),
        ({"class_path": "GradualExtrapolatio"}, "Did you mean GradualExtrapolation"),
        ({"class_path": "GradualExtrapolation"}, "base"),
        ({"class_path": "ScoreCAM", "init_args": {"weighting": "softmax"}}, "weighting"),
        ({"class_path": "ScoreCAM", "init_args": {"chunks": 3}}, "There is no argument 'chunks'. Did you mean chunk"),
        ({"class_path": "SmoothGradCAMPlusPlus", "init_args": {"region": True}}, "two corners"),
        ({"class_path": "SmoothGradCAMPlusPlus", "init_args": {"filters": ["a"]}}, "filters"),
    ],
)
def test_misspelt_methods(config, capsys, explainer, sentence):
    assert sentence in refused(capsys, "fit", "-c", config(set_at(FIRST, explainer)))
