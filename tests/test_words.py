"""One vocabulary: names that torch, Lightning, Captum and torchmetrics users know, spelt as they are there."""

import ast
import inspect
import re
from pathlib import Path

import pytest
from test_cli import FIRST, set_at

from livecam import cli
from livecam.callbacks import ExplanationScores
from livecam.core.errors import OptionError
from livecam.explain import IGOS, RISE, IntegratedGradients, Occlusion
from livecam.metrics import ImageMetric

ROOT = Path(__file__).resolve().parents[1]
FILES = [*sorted((ROOT / "src").rglob("*.py")), *sorted((ROOT / "callbacks").rglob("*.py"))]
FILES += [ROOT / "train.py", ROOT / "explain.py"]

BRITISH = re.compile(
    "optim[i]s[aei]|normal[i]s|random[i]s|colo[u]r|cent[r]ed|centre|labell|behaviour|neighbour|grey|initialis|localis|recognis"
    "|summaris|rasteris|serialis|quantis|minimis|maximis|catalogue|favour",
    re.IGNORECASE,
)

# Gone everywhere, as identifiers: whoever knows torch, Lightning and Captum would have to guess them.
GONE = set(
    re.findall(
        r"\w+",
        """
    Fill as_fill FILLS filled substrate insertion_substrate as_substrate substrate_of warmup_blur blank chunk chunk_for
    check_chunk nsamples std_dev outliers one_pass owner RectifiedGradient PixelGradient TopDown ChannelWeights
    DeletionGame game Tap tap taps Listener listener _Ear ear heard UnheardError in_closed_form OwnForward Heard
    _FEW undisturbed untouched_rng untouched is_ours ordinary as_input share_buffers running_in laid_out logits_of
    quietly tell tell_anew spared harmless Failures Explaining Portions halve out_of_memory Spending LeftOut
    genuine _chosen _in_question Asked asked_of Explained several by_category joined Question ask Scored Viewers View
    Answer Line Ways over_positions over_channels
    once slope enlarged WinningProbability win passed Catalogue Packed drawn
    describe set_aside turned quantised aside Lines wind_back BASELINES part_of told goal answer answers
    """,
    )
)


# In two parts, so that a search for British words finds none here.
U, IS = "u", "is"


def identifiers(tree: ast.AST):
    """(name, line) of everything that is given a name, or is called by one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.arg | ast.keyword) and node.arg:
            yield node.arg, node.lineno if isinstance(node, ast.arg) else node.value.lineno
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.rpartition(".")[2], node.lineno


# Torch's and Python's own names, which are called here and not ours to change.
THEIRS = {("chunk", "Attribute")}


def found(file: Path) -> list[str]:
    """Old words in a file, with their lines."""
    tree = ast.parse(file.read_text("utf-8"))
    calls = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    theirs = {
        (node.attr, node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and (node.attr, "Attribute") in THEIRS and id(node) in calls
    }
    names = set(identifiers(tree)) - theirs
    return [f"{file.name}:{line}: {name}" for name, line in sorted(names) if name in GONE or BRITISH.search(name)]


def test_old_words_are_gone():
    assert len(FILES) > 100 and [place for file in FILES for place in found(file)] == []


def test_an_old_word_is_found_wherever_it_names_something(tmp_path):
    for number, text in enumerate(
        [
            "blank = 1",
            "def tell(): pass",
            "class Tap: pass",
            "x.heard",
            "f(chunk=3)",
            "def f(owner): pass",
            "import a.quietly",
            "from a import b as spared",
            f"lambda colo{U}r: 1",
            f"normal{IS}ed = 1",
            "masks.chunk",
        ]
    ):
        file = tmp_path / f"{number}.py"
        file.write_text(text)
        assert found(file), text
    file.write_text("masks.chunk(2)\n'a chunk of what was told in colo" + U + "r'\n# blank")
    assert found(file) == []


@pytest.mark.parametrize(
    ("function", "gone"),
    [
        (RISE, {"masks", "cells", "keep", "shift", "fill"}),
        (Occlusion, {"size", "fill"}),
        (IntegratedGradients, {"steps"}),
        (IGOS, {"points"}),
        (ExplanationScores, {"baseline"}),
    ],
)
def test_words_that_are_gone_from_one_signature(function, gone):
    assert not gone & inspect.signature(function).parameters.keys()


def test_a_baseline_of_scores_is_refused_by_the_name_of_what_it_is_now():
    with pytest.raises(OptionError, match="ExplanationScores has no baseline: control says"):
        ExplanationScores(["gradcam"], baseline=False)
    with pytest.raises(TypeError, match="takes no argument 'controls'"):
        ExplanationScores(["gradcam"], controls=False)


def test_an_old_configuration_is_refused_with_a_pointer(config, capsys):
    path = config(set_at(f"{FIRST}/init_args", {f"normal{IS}ation": None}))
    with pytest.raises(SystemExit):
        cli.train(["fit", "-c", path])
    told = capsys.readouterr().err
    assert "There is no argument 'normal" + IS in told and "CHANGELOG.md" in told and told.count("\n") == 1


def test_words_that_are_gone_from_metrics():
    assert not {"parts", "shown", "measure", "figures"} & {*vars(ImageMetric), *ImageMetric.__annotations__}
