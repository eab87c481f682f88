"""Files and classes called anything: nothing runs, leaves its folder or is lost, and terminals get letters."""

import csv
import html
import json
import logging
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.checkpoints import save_unet
from hostile_files import MARKUP, NAMES, is_harmless, photo

from livecam import cli
from livecam.core.text import printable
from livecam.data import ImageFolderData

CLASSES = [NAMES[kind] for kind in ("markup", "line end", "escape codes", "undecodable", "right to left", "table")]
CPU = ["--device", "cpu"]
DATA = {"image_size": 32, "num_workers": 0, "mean": [0.5] * 3, "std": [0.25] * 3, "resize": "stretch"}


@pytest.fixture(autouse=True)
def fresh_log():
    """The command line writes to the standard error of its first call, which pytest exchanges between tests."""
    logging.getLogger("livecam").handlers.clear()
    yield
    logging.getLogger("livecam").handlers.clear()


@pytest.fixture
def messy(here):
    """A folder for each class, with photos of all names in it and one file that is none; and a network for them."""
    for number, folder in enumerate(CLASSES):
        for name in NAMES.values():
            photo(here / "data" / folder / f"{name}.png", shade=40 * number)
        (here / "data" / folder / f"{CLASSES[2]}.jpg").write_bytes(b"no photo")
    names = ImageFolderData("data", **DATA).class_names
    save_unet(here / "runs/a/checkpoints/last.ckpt", class_names=names, seed=2)
    return here


def told(capsys) -> str:
    """All that was printed; harmless to a terminal."""
    captured = capsys.readouterr()
    said = captured.out + re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", captured.err)
    assert is_harmless(said.replace("\r", "").replace("\t", "")), said
    assert "\x1b" not in captured.out
    return said


def assert_pages_are_plain(folder: Path) -> None:
    """Pages hold no tag of a name, and every file lies in the folder under a plain name."""
    for page in folder.rglob("*.html"):
        text = page.read_text("utf-8")
        assert "<img src=x" not in text and not re.search(r"<[a-z][^>\"]*(\"[^\"]*\"[^>\"]*)*\sonerror", text)
    for path in folder.rglob("*"):
        assert re.fullmatch(r"[\w.~-]+", path.name) and is_harmless(path.name), path


def test_names_reach_the_files_of_maps(messy, capsys):
    cli.explain(["maps", "data", "--checkpoint", "runs/a/checkpoints/last.ckpt", "--labels", "folder", *CPU])
    said = told(capsys)
    count = len(CLASSES) * len(NAMES)
    assert f"{count} photos explained, {len(CLASSES)} unreadable skipped" in said
    assert said.count("skipped: Cannot read the image data/") == len(CLASSES)
    out = messy / "explanations"
    assert len(list(out.glob("*.png"))) == count == len(list((out / "overlays").iterdir()))
    assert_pages_are_plain(out)
    page = html.unescape((out / "index.html").read_text("utf-8"))
    assert page.count(f"{MARKUP.replace('/', '')}.png") >= len(CLASSES)
    assert {path.name for path in messy.iterdir()} == {"data", "runs", "explanations"}


def test_names_reach_the_tables_of_reclassify(messy, capsys):
    cli.explain(
        ["reclassify", "data", "--checkpoint", "runs/a/checkpoints/last.ckpt", "--methods", "gradcam", "--modes",
         "multiply", "--baselines", "black", *CPU]
    )  # fmt: skip
    told(capsys)
    out = messy / "reclassified"
    assert_pages_are_plain(out)
    text = (out / "reclassify.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    # A cell for the photo and for each of five answers; a bar in a name is none of a table.
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows[4:]} <= {7}
    assert not re.search(r"(?<!\\)<", text) and is_harmless(text)
    with open(out / "reclassify.csv", newline="", encoding="utf-8") as file:
        found = [row["photo"] for row in csv.DictReader(file)]
    names = [f"data/{folder}/{name}.png" for folder in CLASSES for name in NAMES.values()]
    expected = [name.encode("utf-8", "replace").decode() for name in names]
    assert sorted(set(found)) == sorted(set(expected)) and len(found) == 2 * len(names)


def test_names_reach_the_rows_of_score(messy, capsys):
    data = ["--data", "ImageFolderData", "--data.root", "data", "--data.num_workers", "0"]
    what = ["--methods", "gradcam", "--metrics", "sharpness", "--trainer.accelerator", "cpu", "--out", "scores"]
    command = ["score", "--checkpoint", "runs/a/checkpoints/last.ckpt", *data, *what]
    cli.explain(command)
    first = told(capsys)
    assert_pages_are_plain(messy / "scores")
    val = ImageFolderData("data", **DATA).sets["val"]
    with open("scores/scores.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    read = {index: photo.path for index, photo in enumerate(val.photos) if val[index] is not None}
    assert {int(row["index"]): row["file"] for row in rows} == read
    json.loads(Path("scores/summary.json").read_text())
    # Whole rows, whatever line ends are in names: nothing is scored again.
    before = Path("scores/scores.csv").read_bytes()
    cli.explain(command)
    told(capsys)
    assert Path("scores/scores.csv").read_bytes() == before and "error:" not in first


def test_names_in_logs_and_errors_command_no_terminal(messy, capfd):
    (messy / "data" / "\x1b[2J").mkdir()
    with pytest.raises(SystemExit):
        cli.train(["fit", "--data", "ImageFolderData", "--data.root", "data"])
    (error,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "The class folder " in error and "data/\\x1b[2J holds no image" in error and is_harmless(error)
    (messy / "data" / "\x1b[2J").rmdir()
    (messy / "data" / CLASSES[0] / "notes.\x1b[2J\n").write_bytes(b"")
    cli._speak()
    data = ImageFolderData("data", **DATA)
    for part in data.sets.values():
        part.collate([part[index] for index in range(len(part))])
    said = capfd.readouterr().err
    assert said.count("It is skipped.") == len(CLASSES) and is_harmless(said)
    assert "that are not images: 1 of .\\x1b[2j\\n." in said


def test_any_text_becomes_one_harmless_line():
    for text in (*NAMES.values(), *(chr(code) for code in range(0x110000) if code < 0x3000 or 0xD000 < code < 0xE100)):
        shown = printable(text)
        assert is_harmless(shown) or not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff]", shown)
        assert printable(shown) == shown and len(shown) >= len(text)
    joined = "क\u200cष ünï 狼\u3000狼 👩\u200d🚒"
    assert printable(joined) == joined


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_browser_runs_nothing_of_them(messy, config):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")

    def change(settings):
        settings["data"] = {"class_path": "ImageFolderData", "init_args": {"root": "data", "batch_size": 8, **DATA}}
        methods = [{"class_path": "GradCAM"}]
        settings["trainer"]["callbacks"] = [
            {"class_path": "ExplanationGallery", "init_args": {"explainers": methods, "samples": 8}},
            {
                "class_path": "ExplanationScores",
                "init_args": {"explainers": methods, "metrics": [{"class_path": "Sharpness"}]},
            },
        ]

    cli.train(["fit", "-c", config(change), "--run", "b"])
    cli.explain(["maps", "data", "--checkpoint", "runs/a/checkpoints/last.ckpt", "--labels", "folder", *CPU])
    shown = {"runs/b/index.html": "finished", "explanations/index.html": "54 photos"}
    for page, word in shown.items():
        flags = (
            "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
            f"--disable-component-update --disable-sync --user-data-dir={messy}/profile "
            "--virtual-time-budget=3000 --dump-dom"
        )
        url = (messy / page).resolve().as_uri()
        done = subprocess.run([chromium, *flags.split(), url], capture_output=True, timeout=120, check=True)
        dom = done.stdout.decode()
        body = re.sub(r"<(script|style)>.*?</\1>", "", dom, flags=re.S)
        assert word in body and "document.title='owned'" in html.unescape(body), "names are there, as text"
        assert html.unescape(re.search(r"<title>(.*?)</title>", dom, re.S)[1]).strip() != "owned"
        # What is left of tags without the texts in quotes, where names may stand.
        tags = "".join(re.findall(r"<[a-z][^>]*>", re.sub(r'"[^"]*"', '""', body)))
        assert tags.count("<img") > 5 and "onerror" not in tags and "src=x" not in tags
