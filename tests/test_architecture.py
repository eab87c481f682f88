"""Who may import whom, how long files get, and where classes live: the shape of the house."""

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"livecam": ROOT / "src" / "livecam", "livecam.callbacks": ROOT / "callbacks"}


class May(NamedTuple):
    """What one layer may import beside itself and the standard library, as words."""

    livecam: str = ""
    anywhere: str = ""
    inside_functions: str = ""


GROUND = "core runtime"
EVERYTHING = f"{GROUND} data models report explain metrics training evaluation"

# From the ground up: a layer imports only what stands above it here. A single module with rights of its own stands
# under its layer; the longest name wins.
RULES = {
    "core": May("", "torch numpy"),
    "core.files": May("", "torch numpy PIL"),
    "core.safe_yaml": May("", "yaml"),
    "runtime": May("core", "torch numpy", "rich"),
    "data": May(GROUND, "torch torchvision lightning PIL numpy pycocotools filelock"),
    "data.imagenet.labels": May("core", "", "timm"),
    "models": May(GROUND, "torch", "torchvision timm segmentation_models_pytorch safetensors"),
    "report": May(GROUND, "torch numpy PIL jinja2 markupsafe rich lightning"),
    "report.log_media": May(GROUND, "torch numpy PIL lightning", "wandb"),
    "report.wandb_logger": May(GROUND, "lightning", "wandb"),
    "explain": May(GROUND, "torch", "skimage captum numpy"),
    "metrics": May(GROUND, "torch torchmetrics"),
    "training": May(f"{GROUND} data models report", "torch torchmetrics lightning"),
    "evaluation": May(
        f"{GROUND} data models report explain metrics training", "torch numpy lightning PIL yaml", "torchvision scipy"
    ),
    "callbacks": May(f"{GROUND} report explain metrics evaluation", "torch numpy lightning"),
    "commands": May(f"{EVERYTHING} callbacks", "torch numpy lightning PIL rich"),
    "cli": May(f"{EVERYTHING} callbacks commands", "torch lightning jsonargparse yaml rich"),
}


def modules() -> dict[str, Path]:
    """Dotted name below livecam -> file; "" is livecam itself."""
    found = {}
    for package, folder in PACKAGES.items():
        for file in folder.rglob("*.py"):
            dotted = ".".join([package, *file.relative_to(folder).with_suffix("").parts])
            found[dotted.removesuffix(".__init__").removeprefix("livecam").lstrip(".")] = file
    return found


class Imports(ast.NodeVisitor):
    """Every import of a file, wherever it stands: (absolute dotted name, line, inside a function?)."""

    def __init__(self, package: str) -> None:
        self.package = package.split(".")
        self.found: list[tuple[str, int, bool]] = []
        self.depth = 0

    def visit_FunctionDef(self, node):
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_AsyncFunctionDef = visit_Lambda = visit_FunctionDef

    def visit_Import(self, node):
        self.found += [(alias.name, node.lineno, self.depth > 0) for alias in node.names]

    def visit_ImportFrom(self, node):
        base = self.package[: len(self.package) - node.level + 1] if node.level else []
        base = ".".join([*base, *([node.module] if node.module else [])])
        # `from livecam import cli` names a module, so the imported names count; for libraries the package says it all.
        names = [f"{base}.{alias.name}" for alias in node.names] if base == "livecam" else [base]
        self.found += [(name, node.lineno, self.depth > 0) for name in names]

    def visit_Call(self, node):
        called = ast.unparse(node.func)
        if called in ("__import__", "import_module", "importlib.import_module") and node.args:
            target = node.args[0].value if isinstance(node.args[0], ast.Constant) else f"<{ast.unparse(node.args[0])}>"
            self.found.append((str(target), node.lineno, self.depth > 0))
        self.generic_visit(node)


def violations(module: str, source: str, is_package: bool = False) -> list[str]:
    """What a module imports against the rules, one sentence each."""
    known = sorted((name for name in RULES if f"{module}.".startswith(f"{name}.")), key=len)
    if not known:
        return [f"livecam.{module} has no rule: add a line to RULES"]
    rule, part = RULES[known[-1]], module.split(".")[0]
    visitor = Imports(f"livecam.{module}" if is_package else f"livecam.{module}".rpartition(".")[0])
    visitor.visit(ast.parse(source))
    wrong = []
    for name, line, inside in visitor.found:
        top, _, rest = name.partition(".")
        if top == "livecam":
            allowed = rest.split(".")[0] in (part, *rule.livecam.split())
        else:
            allowed = top in sys.stdlib_module_names or top in rule.anywhere.split()
            allowed |= inside and top in rule.inside_functions.split()
        if not allowed:
            wrong.append(f"livecam.{module}:{line} must not import {name}{' inside a function' if inside else ''}")
    return wrong


def test_everyone_imports_only_what_the_design_allows():
    found = [
        sentence
        for module, file in modules().items()
        if module
        for sentence in violations(module, file.read_text(), file.name == "__init__.py")
    ]
    assert not found, "\n".join(found)


def test_livecam_itself_imports_nothing():
    imports = Imports("livecam")
    imports.visit(ast.parse((PACKAGES["livecam"] / "__init__.py").read_text()))
    assert not imports.found, "import livecam must stay instant"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("explain.methods.cam", "import livecam.models"),
        ("explain.methods.cam", "from livecam.models.build import build_model"),
        ("explain.methods.cam", "from livecam import models"),
        ("explain.methods.cam", "from ....models import build_model"),
        ("explain.methods.cam", "def f():\n    def g():\n        from livecam.report import log_media"),
        ("explain.methods.cam", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import lightning"),
        ("explain.methods.cam", "try:\n    import numpy as np\nexcept ImportError:\n    pass"),
        ("explain.methods.xrai", "import skimage.segmentation"),
        ("explain.methods.cam", "import importlib\nimportlib.import_module('timm')"),
        ("metrics.sharpness", "from livecam.explain import explain"),
        ("core.batch", "from livecam.runtime.memory import auto_batch_size"),
        ("core.batch", "from PIL import Image"),
        ("runtime.memory", "from livecam.explain import explain"),
        ("models.backbones", "import timm"),
        ("models.backbones", "class A:\n    import timm"),
        ("data.folder", "from livecam.models.build import build_model"),
        ("report.tables", "def f():\n    import wandb"),
        ("report.log_media", "import wandb"),
        ("training.classifier", "from livecam.explain import explain"),
        ("evaluation.evaluator", "from livecam.callbacks import ExplanationScores"),
        ("evaluation.study", "def f():\n    from livecam.commands.score import score"),
        ("callbacks.explanation_gallery", "from livecam.data.planted import PlantedShapes"),
        ("callbacks.explanation_gallery", "from livecam.training.classifier import Classifier"),
        ("commands.maps", "from livecam import cli"),
        ("commands.maps", "import callbacks"),
        ("newcomer", "import torch"),
    ],
)
def test_a_planted_violation_is_caught(module, source):
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("explain.methods.cam", "import re, torch.nn.functional as F\nfrom livecam.core.heads import Head"),
        ("explain.methods.cam", "from . import occlusion\nfrom ...runtime.memory import auto_batch_size"),
        ("explain.methods.xrai", "def segments():\n    from skimage.segmentation import felzenszwalb"),
        ("models.backbones", "class A:\n    def f(self):\n        import timm"),
        ("report.log_media", "log = lambda run: __import__('wandb')"),
        ("cli", "import livecam.callbacks\nfrom livecam.commands.maps import maps"),
    ],
)
def test_what_is_allowed_passes(module, source):
    assert violations(module, source) == []


def test_every_rule_is_for_something_that_the_walk_sees():
    seen = set(modules())
    assert {"explain.methods.cam", "callbacks.base", "cli", "report.log_media"} <= seen
    assert all(any(f"{module}.".startswith(f"{rule}.") for module in seen) for rule in RULES)


@pytest.mark.parametrize("script", ["train.py", "explain.py"])
def test_scripts_only_call_the_command_line(script):
    text = (ROOT / script).read_text()
    assert len(text.splitlines()) <= 10
    assert not [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef | ast.FunctionDef)]


def test_no_file_is_longer_than_350_lines():
    folders = [*PACKAGES.values(), ROOT / "tests", ROOT / "benchmarks"]
    files = [
        file
        for folder in folders
        for file in folder.rglob("*")
        if file.suffix in {".py", ".js", ".css", ".html"} and "__pycache__" not in file.parts
    ]
    lengths = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in files}
    assert len(lengths) > 40
    assert not {file: lines for file, lines in lengths.items() if lines > 350}


@pytest.mark.slow
@pytest.mark.parametrize("part", ["explain", "metrics", "models"])
def test_light_parts_import_nothing_heavy(part):
    """Also through what they import: small commands should not wait ten seconds for libraries they do not use."""
    heavy = {"lightning", "timm", "segmentation_models_pytorch", "wandb", "skimage", "livecam.cli"}
    code = f"import sys, livecam.{part}; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_text_speaks_of_no_page_that_readers_do_not_have():
    """Such as "methods 0.4" or "C16": the numbers of notes that are no part of this repository."""
    folders = [*PACKAGES.values(), *(ROOT / name for name in ("tests", "benchmarks", "configs", "docs"))]
    files = [file for folder in folders for file in folder.rglob("*") if file.suffix in {".py", ".md", ".yaml", ".js"}]
    notes = re.compile(r"\bmethods \d|\(C\d+\)|\b(methods|design|house|peers|style)\.md\b")
    here = Path(__file__)
    told = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in [*files, ROOT / "README.md"]
        if file != here
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1)
        if notes.search(line)
    ]
    assert not told


def imports_of(module: str, file: Path) -> set[str]:
    """Modules of livecam that a module imports anywhere, also inside functions; a package stands for its __init__."""
    package = f"livecam.{module}" if file.name == "__init__.py" else f"livecam.{module}".rpartition(".")[0]
    visitor = Imports(package)
    visitor.visit(ast.parse(file.read_text()))
    names = {name.removeprefix("livecam").lstrip(".") for name, _, _ in visitor.found if name.startswith("livecam")}
    return names - {module, ""}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Some circle of a graph; empty where there is none."""
    done: set[str] = set()

    def walk(node: str, way: list[str]) -> list[str]:
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return []
        for other in sorted(graph.get(node, ())):
            if found := walk(other, [*way, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := walk(node, []))), [])


def test_no_imports_go_in_a_circle_not_even_inside_functions():
    graph = {module: imports_of(module, file) for module, file in modules().items() if module}
    assert not circle(graph)
    assert circle(graph | {"core.heads": {"explain.methods.cam"}})[0]


def test_rooms_stay_small_and_nothing_lies_loose():
    rooms = Counter(file.parent for folder in PACKAGES.values() for file in folder.rglob("*.py"))
    # A package's __init__ is its door.
    assert not {str(room): count - 1 for room, count in rooms.items() if count - 1 > 16}
    loose = {file.name for file in PACKAGES["livecam"].glob("*.py")}
    assert loose == {"__init__.py", "cli.py"}
