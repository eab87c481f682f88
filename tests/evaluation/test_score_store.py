"""Rows of scores on disk: whatever a kill leaves of a file, nothing is lost that was whole, and nothing comes twice."""

import csv
import io
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.utilities import rank_zero_only

from livecam.evaluation.score_store import FACTS, ScoreFolder

COLUMNS = ("localization", "localization_chance")
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\0\r"), max_size=6)


def image(index: int, file: str = "", methods=("cam", "gradcam"), value: float = 0.123456789) -> list[dict]:
    """Rows of one image, as a scorer writes them."""
    facts = {"index": index, "file": file, "label": 1, "target": 1, "predicted": 0, "probability": repr(value)}
    scores = {
        "degenerate": 0,
        "failed": 0,
        "of": len(methods),
        "localization": repr(value + index),
        "localization_chance": "",
    }
    return [facts | {"method": method} | scores for method in methods]


def as_text(rows) -> list[dict[str, str]]:
    return [{key: str(value) for key, value in row.items()} for row in rows]


def write(folder: ScoreFolder, images, rank: int = 0) -> None:
    writer = folder.open(rank)
    for rows in images:
        writer.write(rows)
    writer.close()


def rows_in(folder: ScoreFolder) -> list[dict[str, str]]:
    return [row for _, rows in sorted(folder.images(), key=lambda image: image[0]) for row in rows]


def merged(folder: ScoreFolder) -> list[dict[str, str]]:
    folder.finish()
    return read(folder.path / "scores.csv")


def read(path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@settings(max_examples=200, deadline=None)
@given(
    names=st.lists(NAMES | st.sampled_from(['a"b', "two\nlines", '"\n"', "ä,ö", "é"]), min_size=1, max_size=4),
    cut=st.floats(0, 1),
    again=st.floats(0, 1),
)
def test_any_two_cuts_are_survived(tmp_path_factory, names, cut, again):
    path = tmp_path_factory.mktemp("rows")
    images = [image(index, name) for index, name in enumerate(names)]
    for share in (cut, again):
        folder = ScoreFolder(path, {}, COLUMNS)
        done = {row["index"] for row in rows_in(folder)}
        write(folder, [rows for rows in images if str(rows[0]["index"]) not in done])
        torn = path / "rows.rank0.csv"
        os.truncate(torn, round(share * torn.stat().st_size))
        # What is still there is right: whole images only, with the values that were written.
        left = rows_in(ScoreFolder(path, {}, COLUMNS))
        assert left == as_text(
            row for rows in images for row in rows if str(row["index"]) in {r["index"] for r in left}
        )
    folder = ScoreFolder(path, {}, COLUMNS)
    done = {row["index"] for row in rows_in(folder)}
    write(folder, [rows for rows in images if str(rows[0]["index"]) not in done])
    assert merged(folder) == rows_in(folder) == as_text(row for rows in images for row in rows)
    assert read(path / "scores.csv") == rows_in(folder)
    assert sorted(file.name for file in path.iterdir()) == ["scores.csv", "settings.json"]


def test_every_single_cut_of_one_file(tmp_path):
    images = [image(index, name) for index, name in enumerate(["plain.png", 'quo"ted\n.png', "é.png"])]
    write(ScoreFolder(tmp_path / "whole", {}, COLUMNS), images)
    content = (tmp_path / "whole" / "rows.rank0.csv").read_bytes()
    whole = merged(ScoreFolder(tmp_path / "whole", {}, COLUMNS))
    for size in range(len(content) + 1):
        path = tmp_path / str(size)
        folder = ScoreFolder(path, {}, COLUMNS)
        (path / "rows.rank0.csv").write_bytes(content[:size])
        # By another reader: lines that were ended, as far as quotes are closed.
        kept = {row["index"] for row in rows_in(folder)}
        ends = [len(header_and(images[:count])) for count in range(1, 4)]
        assert kept == {str(count) for count, end in enumerate(ends) if size >= end}
        write(folder, [rows for rows in images if str(rows[0]["index"]) not in kept])
        assert merged(folder) == whole


def header_and(images) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*FACTS, *COLUMNS], lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for rows in images for row in rows)
    return text.getvalue().encode()


def test_ranks_are_merged_in_the_order_of_images_each_once(tmp_path):
    folder = ScoreFolder(tmp_path, {}, COLUMNS)
    write(folder, [image(4), image(0)], rank=0)
    write(folder, [image(1), image(3), image(0, value=9.0)], rank=1)
    write(folder, [image(12), image(2)[:1]], rank=10)
    found = merged(folder)
    assert [(row["index"], row["method"]) for row in found] == [
        (str(index), method) for index in (0, 1, 3, 4, 12) for method in ("cam", "gradcam")
    ]
    assert found[0]["localization"] == repr(0.123456789)
    # And goes on.
    write(folder, [image(2)], rank=0)
    assert [row["index"] for row in merged(folder)][4:6] == ["2", "2"]


def test_rows_are_on_disk_before_the_file_is_closed(tmp_path):
    folder = ScoreFolder(tmp_path, {}, COLUMNS)
    writer = folder.open(0)
    writer.write(image(5))
    assert [row["index"] for row in rows_in(ScoreFolder(tmp_path, {}, COLUMNS))] == ["5", "5"]
    writer.close()


def test_what_a_rewritten_image_says_counts_once(tmp_path):
    """An image that a kill cut short is written again whole into the same file."""
    folder = ScoreFolder(tmp_path, {}, COLUMNS)
    write(folder, [image(1, value=7.0)[:1], image(2), image(1)])
    assert merged(folder) == as_text([*image(1), *image(2)])


def test_other_settings_are_refused_and_nothing_changes(tmp_path):
    folder = ScoreFolder(tmp_path, {"methods": ["cam"], "pair": (1, 2)}, COLUMNS)
    write(folder, [image(0)])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    # The same: a tuple is a list in the file.
    assert rows_in(ScoreFolder(tmp_path, {"methods": ["cam"], "pair": (1, 2)}, COLUMNS))
    for changed, columns, word in (
        ({"methods": ["gradcam"], "pair": [1, 2]}, COLUMNS, "methods"),
        ({"methods": ["cam"]}, COLUMNS, "pair"),
        ({"methods": ["cam"], "pair": [1, 2], "target": 1}, COLUMNS, "target"),
        ({"methods": ["cam"], "pair": [1, 2]}, COLUMNS[:1], "columns"),
    ):
        with pytest.raises(ValueError, match=rf"other settings \({word}\): choose another --out"):
            ScoreFolder(tmp_path, changed, columns)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    folder.finish()
    with pytest.raises(ValueError, match="other settings"):
        ScoreFolder(tmp_path, {"methods": ["gradcam"], "pair": [1, 2]}, COLUMNS)


def test_a_folder_without_any_whole_image_takes_other_settings(tmp_path):
    write(ScoreFolder(tmp_path, {"methods": "cma"}, COLUMNS[:1]), [])
    with (tmp_path / "rows.rank1.csv").open("w") as file:
        file.write("index,fi")
    folder = ScoreFolder(tmp_path, {"methods": "cam"}, COLUMNS)
    assert json.loads((tmp_path / "settings.json").read_text())["methods"] == "cam"
    write(folder, [image(0)])
    assert merged(folder) == as_text(image(0))


def test_names_that_are_no_text(tmp_path):
    """File systems hold any bytes; Python shows what is no UTF-8 as surrogates."""
    folder = ScoreFolder(tmp_path, {}, COLUMNS)
    write(folder, [image(0, "caf\udce9.jpg")])
    folder.finish()
    assert b"caf\xe9.jpg" in (tmp_path / "scores.csv").read_bytes()
    assert [row["file"] for row in rows_in(folder)] == ["caf\udce9.jpg"] * 2


def test_rank_zero_alone_begins_a_folder(tmp_path, monkeypatch):
    # Under torchrun and srun all ranks come at the same time, and the file beside the settings has one name.
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    ScoreFolder(tmp_path / "new", {}, COLUMNS)
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    ScoreFolder(tmp_path / "new", {}, COLUMNS)
    assert (tmp_path / "new" / "settings.json").exists()
