"""docs/architecture.md is short, and its table of methods is that of the registry."""

import inspect
import re
from functools import partial
from pathlib import Path

from livecam.explain.registry import _prefixed, explainer_classes

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
METHODS = ROOT / "src" / "livecam" / "explain" / "methods"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.partition("| method |")[2].splitlines()[2:]
    if line.startswith("|")
]


def files_of(kinds: dict) -> dict[str, str]:
    """Name -> file below the methods' folder; tests of this process may have entered methods of their own."""
    sources = {name: kind.func if isinstance(kind, partial) else kind for name, kind in kinds.items()}
    paths = {name: Path(inspect.getsourcefile(kind)).resolve() for name, kind in sources.items()}
    return {name: str(path.relative_to(METHODS)) for name, path in paths.items() if path.is_relative_to(METHODS)}


def test_the_page_is_short():
    assert len(PAGE.splitlines()) <= 80


def test_every_method_stands_there_once_with_its_file():
    told = {name: file.strip("`") for names, file, *_ in ROWS for name in re.findall("`([^`]+)`", names)}
    word = {"captum_": "attribution"}
    prefixed = {f"{prefix}<{word.get(prefix, 'method')}>": kind for prefix, kind in _prefixed().items()}
    assert told == files_of(explainer_classes() | prefixed)
    assert sum(len(re.findall("`", names)) for names, *_ in ROWS) == 2 * len(told)


def test_files_and_tests_are_there_and_tests_name_the_method():
    for names, file, test, paper in ROWS:
        assert (METHODS / file.strip("`")).is_file() and paper
        text = (ROOT / "tests" / "explain" / "methods" / test.strip("`")).read_text().lower()
        first = re.findall("`([a-z_]+)", names)[0].strip("_")
        assert any(word in text for word in (first, first.replace("_", ""), first.replace("pp", "plusplus"))), names


def test_every_layer_of_the_import_rules_is_drawn():
    from test_architecture import RULES

    drawn = re.findall(r"\w+", PAGE.partition("```\n")[2].partition("\n```")[0])
    assert {rule.split(".")[0] for rule in RULES} <= {*drawn}
