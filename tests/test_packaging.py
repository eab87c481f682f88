"""What gets installed: a package missing from the list is missing only from the wheel, where nobody looks."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
FOLDERS = {"livecam": ROOT / "src" / "livecam", "livecam.callbacks": ROOT / "callbacks"}


def packages() -> dict[str, Path]:
    """Dotted name -> folder of everything that holds Python files."""
    found = {}
    for name, folder in FOLDERS.items():
        for parent in {file.parent for file in folder.rglob("*.py")}:
            found[".".join([name, *parent.relative_to(folder).parts])] = parent
    return found


def test_packages_list_matches_the_folders():
    listed = SETUPTOOLS["packages"]
    assert sorted(listed) == sorted(packages())
    assert all((folder / "__init__.py").is_file() for folder in packages().values())


def test_package_dirs_point_at_the_folders():
    assert {name: ROOT / folder for name, folder in SETUPTOOLS["package-dir"].items()} == FOLDERS


def test_package_data_covers_every_file_that_is_no_python():
    covered, wanted = set(), set()
    for name, folder in packages().items():
        for pattern in SETUPTOOLS["package-data"].get(name, []):
            matches = set(folder.glob(pattern))
            assert matches, f"package-data of {name}: {pattern} matches nothing"
            covered |= matches
        wanted |= {file for file in folder.iterdir() if file.is_file() and file.suffix not in {".py", ".pyc"}}
    assert covered == wanted
    assert {"page.html", "page.js", "page.css"} <= {file.name for file in covered}


def test_lock_file_stays_out_of_git():
    assert "/uv.lock" in (ROOT / ".gitignore").read_text().split()
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    tracked = subprocess.run(["git", "ls-files", "uv.lock"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert tracked.stdout == ""


@pytest.fixture(scope="module")
def uv() -> str:
    """Path of uv, which `uv run` passes on."""
    found = os.environ.get("UV") or shutil.which("uv")
    if not found:
        pytest.skip("uv is not installed")
    return found


def run(*command: str | Path, **settings) -> str:
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=clean, **settings)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(uv, tmp_path_factory) -> Path:
    """The wheel, built from a copy of what git would hold."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "src", "callbacks"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, source)
    run(uv, "build", "--wheel", "--out-dir", source / "dist", cwd=source)
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.mark.slow
def test_wheel_holds_the_packages_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        "/".join([*name.split("."), file.name])
        for name, folder in packages().items()
        for file in folder.iterdir()
        if file.is_file() and file.suffix != ".pyc"
    }
    assert files == expected


@pytest.mark.slow
def test_wheel_works_in_a_clean_environment(uv, wheel, tmp_path):
    """Third-party packages are borrowed by a .pth file: 3 GB less to install, and livecam itself is not among them."""
    home = tmp_path / "venv"
    run(uv, "venv", "--quiet", "--python", sys.executable, home)
    python = home / "bin" / "python"
    run(uv, "pip", "install", "--quiet", "--no-deps", "--python", python, wheel)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
    # A plain path line does not run the .pth files over there, so the editable livecam stays invisible.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")

    abroad = tmp_path / "elsewhere"
    abroad.mkdir()
    code = """
import pathlib, livecam.callbacks, livecam.explain, livecam.report.html.logger
print(pathlib.Path(livecam.__file__).parent)
print(pathlib.Path(livecam.callbacks.__file__).parent)
print(livecam.callbacks.ExplanationGallery.__module__, livecam.explain.GradCAM.__module__)
logger = livecam.report.html.logger.HTMLLogger("runs", name="first")
logger.log_metrics({"val/loss": 1.0}, 0)
logger.finalize("success")
"""
    where, callbacks, modules = run(python, "-c", code, cwd=abroad).splitlines()[:3]
    assert Path(where) == site / "livecam"
    assert Path(callbacks) == site / "livecam" / "callbacks"
    assert modules == "livecam.callbacks.explanation_gallery livecam.explain.methods.cam"
    page = (abroad / "runs" / "first" / "index.html").read_text()
    for name in ("page.css", "page.js"):
        assert (packages()["livecam.report.html"] / name).read_text().strip() in page
