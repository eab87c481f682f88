"""The pages of conventions and of metrics: their commands run something, and no method and no metric is missing.

Test files are read, not imported: the page must be checked in a second, and where no other library is installed.
"""

import ast
import re
import shlex
from dataclasses import fields
from inspect import signature
from pathlib import Path

import pytest

from livecam.explain.registry import PRESETS, explainer_classes, wrappers
from livecam.metrics.image_metric import metric_classes

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "conventions.md").read_text()
METRICS_PAGE = (ROOT / "docs" / "metrics.md").read_text()
BOTH = PAGE + METRICS_PAGE
COMMANDS = re.findall(r"uv run [^`\n]*pytest[^`\n]*", BOTH)
SCRIPTS = re.findall(r"uv run (?:--group \w+ )?(\S+\.py)", BOTH)
DEFAULT = "not slow and not oracle"


class Holds(dict):
    """Names of an expression such as ``slow or not oracle``: each stands for whether it holds."""

    def __init__(self, test):
        super().__init__()
        self.test = test

    def __missing__(self, name):
        return self.test(name)


def holds(expression, test):
    return bool(eval(expression, {"__builtins__": {}}, Holds(test)))


def marks(nodes):
    """Names behind ``pytest.mark.`` anywhere in these nodes."""
    found = (inner for node in nodes for inner in ast.walk(node) if isinstance(inner, ast.Attribute))
    return {node.attr for node in found if ast.unparse(node.value) == "pytest.mark"}


def found_in(source):
    """Name of every test function of a file, with the marks that it may carry."""
    body = ast.parse(source).body
    shared = marks(n for n in body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "pytestmark")
    functions = (n for n in body if isinstance(n, ast.FunctionDef) and n.name.startswith("test"))
    return {function.name: shared | marks(function.decorator_list) for function in functions}


def complaint(command):
    """What is wrong with a command; None where it runs a test."""
    words = shlex.split(command)
    given = {flag: words[words.index(flag) + 1] for flag in ("-m", "-k", "--group") if flag in words}
    # Not pytest alone: what it runs is a path behind it.
    paths = [word for word in words if word.endswith(".py")]
    if len(paths) != 1 or not (ROOT / paths[0]).is_file():
        return f"names {paths}, not one file that exists"
    found = found_in((ROOT / paths[0]).read_text())
    asked = given.get("-k", "test")
    for word in set(re.findall(r"\w+", asked)) - {"and", "or", "not"}:
        if not any(word in name for name in found):
            return f"no test's name holds {word!r}"
    chosen = {
        name: marked
        for name, marked in found.items()
        if holds(asked, lambda word, name=name: word in name)
        and holds(given.get("-m", DEFAULT), lambda mark, marked=marked: mark in marked)
    }
    if not chosen:
        return "selects no test"
    if any("oracle" in marked for marked in chosen.values()) and given.get("--group") != "oracles":
        return "runs oracle tests without their dependency group"
    return None


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_runs_a_test(command):
    assert complaint(command) is None


def test_there_are_commands_and_each_takes_a_line_of_its_own():
    assert len(COMMANDS) + len(SCRIPTS) == BOTH.count("uv run") - 1 > 20, "one command prints versions"


def test_every_script_exists():
    assert SCRIPTS and all((ROOT / script).is_file() for script in SCRIPTS)


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("uv run pytest tests/explain/test_nothing.py", "not one file"),
        ("uv run pytest -k maps", "not one file"),
        ("uv run pytest tests/core/test_heads.py -k one_logitt", "no test's name holds 'one_logitt'"),
        ("uv run pytest tests/core/test_heads.py -k 'one_logit and not one_logit'", "selects no test"),
        ("uv run pytest tests/explain/methods/test_oracles.py -k cubed_gradient", "selects no test"),
        ("uv run pytest -m oracle tests/explain/methods/test_oracles.py -k cubed_gradient", "dependency group"),
    ],
)
def test_broken_commands_are_noticed(command, what):
    assert what in complaint(command)


def headings(page):
    return [line for line in page.splitlines() if line.startswith("## ")]


def missing(page):
    """Methods and wrappers of livecam without a section, presets and options without a word."""
    ours = {name: cls for name, cls in explainer_classes().items() if cls.__module__.startswith("livecam.")}
    titles = "\n".join(headings(page))
    # A wrapper that has a base of its own takes its label from its base.
    labels = {name: cls.label if isinstance(cls.label, str) else cls().label for name, cls in ours.items()}
    absent = {name for name, label in labels.items() if f"## {label} (`{name}`)" not in titles}
    absent |= {prefix for prefix in wrappers() if f"(`{prefix}<method>`)" not in titles}
    absent |= {name for name in PRESETS if f"| `{name}` |" not in page}
    upon = [getattr(made, "func", made) for made in wrappers().values()]
    options = {field.name for cls in [*ours.values(), *upon] for field in fields(cls)}
    return absent | {option for option in options - {"name"} if f"`{option}" not in page}


def test_no_method_preset_or_option_is_missing():
    assert missing(PAGE) == set()


@pytest.mark.parametrize(
    "name", ["scorecam", "gradual_", "igos_", "s4", "normalize_alpha", "warmup_baseline", "internal_batch_size"]
)
def test_a_missing_one_is_noticed(name):
    assert missing(PAGE.replace(name, "")) >= {name}


def missing_metrics(page):
    """Metrics of livecam without a section, parts and options without a word."""
    ours = {name: cls for name, cls in metric_classes().items() if cls.__module__.startswith("livecam.")}
    titles = "\n".join(headings(page))
    absent = {name for name in ours if f"`{name}`" not in titles}
    words = {part for cls in ours.values() for part in cls.value_names[1:] if "at_" not in part}
    words |= {option for cls in ours.values() for option in signature(cls).parameters}
    return absent | {word for word in words if not re.search(rf"[`\s]{word}(`|=)", page)}


def test_no_metric_part_or_option_is_missing():
    assert missing_metrics(METRICS_PAGE) == set()


@pytest.mark.parametrize("name", ["pointing", "small_chance", "tolerance"])
def test_a_missing_part_of_a_metric_is_noticed(name):
    assert missing_metrics(METRICS_PAGE.replace(f"`{name}", "")) >= {name}
