"""Words with options: how they are read, built, and refused, for methods and for metrics."""

import re
from dataclasses import dataclass
from keyword import iskeyword

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecam.core.validation import check_count, check_option, make, split_word, suggest
from livecam.explain import (
    RISE,
    CaptumExplainer,
    GradCAM,
    GradCAMPlusPlus,
    GradualExtrapolation,
    Occlusion,
    by_name,
    by_names,
)
from livecam.metrics import EnergyInMask, LocalizationScore, PointingGame, Sharpness
from livecam.metrics.image_metric import metric_classes, metrics_by_names
from livecam.runtime.progress import listed

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0) | st.floats(0, 1e6) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=5,
)


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True).filter(lambda name: not iskeyword(name))


@given(NAMES, st.dictionaries(st.sampled_from(["a", "b_2", "c"]), VALUES))
def test_what_python_writes_is_read(name, options):
    written = ", ".join(f"{key}={value!r}" for key, value in options.items())
    assert split_word(f"{name}({written})") == (name, options)
    assert split_word(name) == (name, {})


@pytest.mark.parametrize(
    "word",
    [
        "rise(1000)",
        "rise(num_masks=1000",
        "rise(num_masks=)",
        "rise(num_masks=x)",
        "rise(num_masks=1)(2)",
        "a.b(c=1)",
        "rise(num_masks=__import__('os'))",
        "(masks=1)",
        "rise(num_masks=1) grid_size",
    ],
)
def test_what_is_no_plain_value_is_not_read(word):
    with pytest.raises(ValueError, match=re.escape(f"{word!r} cannot be read: options follow a name like rise(")):
        split_word(word)


def test_lists_of_words():
    words = "occlusion(window_size=[8, 4], stride=8), gradcam ,,rise(num_masks=1000,grid_size=5)"
    assert listed(words) == ["occlusion(window_size=[8, 4], stride=8)", "gradcam", "rise(num_masks=1000,grid_size=5)"]
    assert listed("") == listed(" , ") == []


@dataclass
class Thing:
    width: int = 1
    depth: int = 2

    def __post_init__(self):
        if not isinstance(self.width, int):
            raise TypeError("width has to be whole")


def test_make_builds_and_refuses():
    assert make(Thing, "thing(width=3)", {"width": 3}) == Thing(3, 2)
    with pytest.raises(ValueError, match=r"'thing\(widht=3\)': there is no option 'widht'\. Did you mean width\?"):
        make(Thing, "thing(widht=3)", {"widht": 3})
    with pytest.raises(ValueError, match=r"there is no option 'zzz'\. It has width, depth\."):
        make(Thing, "thing(zzz=3)", {"zzz": 3})
    with pytest.raises(ValueError, match=r"'thing\(width=1\.5\)' cannot be made: width has to be whole\."):
        make(Thing, "thing(width=1.5)", {"width": 1.5})
    with pytest.raises(ValueError, match=r"there is no option 'x'\. It has none\."):
        make(lambda: None, "nothing(x=1)", {"x": 1})


def test_methods_with_options():
    assert by_name("gradcam") == by_name("gradcam()") == GradCAM()
    assert by_name("rise(num_masks=100,grid_size=5, name='short')") == RISE(num_masks=100, grid_size=5, name="short")
    assert by_name("occlusion(window_size=(8, 4), stride=8)") == Occlusion((8, 4), 8)
    assert by_name("gradcam_pp(layer='bottleneck')") == GradCAMPlusPlus(layer="bottleneck")
    # Options of a prefixed word are those of the outermost method that has them.
    found = by_name("gradual_gradcam(q='l2', layer='bottleneck', name='mine')")
    assert found == GradualExtrapolation(GradCAM(layer="bottleneck"), q="l2", name="mine")
    assert [method.name for method in by_names(["rise(num_masks=9)", "rise(num_masks=9, name='more')"])] == [
        "rise",
        "more",
    ]


def test_attributions_of_captum_with_options():
    pytest.importorskip("captum", reason="CaptumExplainer needs captum")
    found = by_name("captum_deep_lift(reduce='max', options={'baselines': 0})")
    assert found == CaptumExplainer("DeepLift", {"baselines": 0}, reduce="max")


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("gradcm", "Unknown method 'gradcm'. Did you mean gradcam"),
        ("gradcm(layer='x')", "Unknown method 'gradcm'. Did you mean gradcam"),
        ("gradual_gradcm", "Unknown method"),
        ("gradcam(laier='x')", "there is no option 'laier'. Did you mean layer?"),
        ("gradual_gradcam(qq='l2')", "there is no option 'qq'"),
        ("occlusion(8)", "cannot be read"),
        ("rise(num_masks=0)", "num_masks"),
    ],
)
def test_wrong_methods(word, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        by_name(word)


def test_metrics_with_options():
    words = [
        "localization",
        "pointing(ties='first', tolerance=15)",
        "energy_in_mask(small=0.1)",
        "sharpness()",
    ]
    found = metrics_by_names(words)
    assert [type(metric) for metric in found] == [LocalizationScore, PointingGame, EnergyInMask, Sharpness]
    assert (found[1].ties, found[1].tolerance, found[2].small) == ("first", 15, 0.1)
    assert metrics_by_names([]) == []
    for name, kind in metric_classes().items():
        (metric,) = metrics_by_names([name])
        assert type(metric) is kind and metric.name == name


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["localizatoin"], "Unknown metric 'localizatoin'. Did you mean localization"),
        (["zzz"], "Unknown metric 'zzz'. Metrics: "),
        (["localization", "localization()"], "Metric 'localization' is there twice"),
        (["insertion_deletion(stepp=3)"], "there is no option 'stepp'. Did you mean step?"),
        (["insertion_deletion(step=0)"], "step is a whole number from 1, got 0."),
        (["energy_in_mask(x=1)"], "there is no option 'x'. It has small, name."),
        (["pointing(ties='frist')"], "Did you mean first?"),
    ],
)
def test_wrong_metrics(words, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        metrics_by_names(words)


def test_checks_of_values():
    check_option("ties", "share", ("share", "first"))
    check_count("step", 1)
    check_count("step", 0, least=0)
    with pytest.raises(ValueError, match=r"ties='zzz' is not one of share, first\.$"):
        check_option("ties", "zzz", ("share", "first"))
    for wrong in (0, 1.0, "1", None, -3):
        with pytest.raises(ValueError, match="step is a whole number from 1"):
            check_count("step", wrong)


@pytest.mark.parametrize("word", ["rise(**{'a': 1})", "rise(num_masks=1, num_masks=2)", "rise(5)"])
def test_options_without_a_name_or_given_twice(word):
    with pytest.raises(ValueError, match="cannot be read"):
        split_word(word)


def test_a_wrong_option_is_shown_as_it_was_written():
    sentence = r"gradual_occlusion\(window_sise=3\).*no option 'window_sise'. Did you mean window_size"
    with pytest.raises(ValueError, match=sentence):
        by_name("gradual_occlusion(window_sise=3)")
    with pytest.raises(ValueError, match="num_categories"):
        metrics_by_names(["localization(num_categories=4)"])


def test_options_reach_the_method_that_has_them():
    made = by_name("gradual_gradcam(layer='layer3', q='l2')")
    assert (made.q, made.base.layer) == ("l2", "layer3")


def test_near_matches_whatever_their_case():
    assert suggest("gradcm", ["GradCAM", "rise", "GradCAM"]) == " Did you mean GradCAM?"
    assert suggest(3, ["rise"]) == "" and suggest("zzz", ["rise", "ig"], "It has") == " It has rise, ig."
