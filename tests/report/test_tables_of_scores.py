"""Tables of scores: the same figures in the terminal, in CSV and on the page, whatever the names look like."""

import csv
import html
import io
import math
import re
import shutil
import subprocess

import pytest
from test_html_logger import HOSTILE

from livecam.report.html.maps_page import Entry, Picture
from livecam.report.html.scores_page import Curves, write_scores_page
from livecam.report.tables import Measured, ScoreTable, as_csv, print_tables

NAN = math.nan


def table(name: str = "Grad-CAM", **given) -> ScoreTable:
    rows = [
        [name, Measured(0.5, 0.25, 0.75), Measured(1.25, digits=2), 12],
        ["Baseline", Measured(-0.125, -0.25, 0.0), Measured(NAN), 11],
        ["Unknown", Measured(NAN, NAN, NAN), "-", 0],
    ]
    columns = ["method", "score [95 %]", "lift", "n"]
    return ScoreTable("scores", columns, rows, 1, [0.1, None, NAN], faint={1}, notes=["Higher is better."], **given)


@pytest.mark.parametrize(
    ("measured", "text"),
    [
        (Measured(0.12345), "0.123"),
        (Measured(0.12345, 0.1, 0.9), "0.123 [.100, .900]"),
        (Measured(-0.5, -0.75, 1.5), "-0.500 [-.750, 1.500]"),
        (Measured(0.5, -0.25, 0.75, signed=True), "+0.500 [-.250, +.750]"),
        (Measured(-0.004, -0.01, 0.002, 2, True), "-0.00 [-.01, +.00]"),
        (Measured(1.5, 10.0, 20.25, 2), "1.50 [10.00, 20.25]"),
        # It rounds to one: no digit is lost.
        (Measured(0.9999, 0.9996, 1.0), "1.000 [1.000, 1.000]"),
        (Measured(0.0, 0.0, 0.0), "0.000 [.000, .000]"),
        (Measured(NAN), "-"),
        (Measured(NAN, 0.0, 1.0), "-"),
        (Measured(0.5, NAN, 1.0), "0.500"),
    ],
)
def test_a_figure_as_text(measured, text):
    assert str(measured) == text


def test_places_on_the_axis_by_hand():
    drawn = table()
    assert drawn.axis == (-0.25, 0.75)
    assert [drawn.place(value) for value in (-0.25, 0, 0.25, 0.75)] == [0, 25, 50, 100]
    nothing = ScoreTable("empty", ["method", "score"], [["a", Measured(NAN)]], 1, [None])
    assert nothing.axis == (0, 1) and nothing.place(0.5) == 50
    below = ScoreTable("below", ["method", "score"], [["a", Measured(-2.0, -4.0, -1.0)]], 1, [None])
    assert [below.place(value) for value in (-4, -2)] == [0, 50]


def test_csv_has_a_row_per_figure_and_blanks_where_there_is_nothing():
    given = table('a "quoted", name\nof two lines', words=1)
    rows = list(csv.reader(io.StringIO(as_csv([given, table()]))))
    assert rows[0] == ["table", "row", "figure", "value", "low", "high"] and len(rows) == 1 + 2 * 9
    name = 'a "quoted", name\nof two lines'
    assert rows[1:4] == [
        ["scores", name, "score [95 %]", "0.5", "0.25", "0.75"],
        ["scores", name, "lift", "1.25", "", ""],
        ["scores", name, "n", "12", "", ""],
    ]
    assert rows[5] == ["scores", "Baseline", "lift", "", "", ""] and rows[7][3:] == ["", "", ""]
    two = ScoreTable("t", ["method", "network", "x"], [["a", "b", Measured(1 / 3)]], 2, [None], words=2)
    assert list(csv.reader(io.StringIO(as_csv([two]))))[1] == ["t", "a · b", "x", repr(1 / 3), "", ""]


def test_the_terminal_shows_all_of_it(capsys):
    print_tables([table("run[bold] of :bug:"), ScoreTable("empty", ["method", "score"], [], 1, [], notes=["None."])])
    lines = capsys.readouterr().out.splitlines()
    assert any(re.fullmatch(r" ?run\[bold\] of :bug: +0\.500 \[\.250, \.750\] +1\.25 +12 *", line) for line in lines)
    assert any(re.fullmatch(r" ?Baseline +-0\.125 \[-\.250, \.000\] +- +11 *", line) for line in lines)
    assert any(re.fullmatch(r" ?Unknown +- +- +0 *", line) for line in lines)
    assert [line for line in lines if line in ("Higher is better.", "None.")] == ["Higher is better.", "None."]
    assert {"scores", "empty"} <= {line.strip() for line in lines}


def test_points_of_curves_by_hand():
    drawn = Curves("insertion", {"a": [0.0, 0.5, 1.0], "b": [0.25]})
    assert drawn.top == 1.0
    left, right = drawn.x(0), drawn.x(100)
    bottom, top = drawn.y(0), drawn.y(1)
    assert 0 < left < right < drawn.width and 0 < top < bottom < drawn.height
    points = [float(number) for point in drawn.points("a").split() for number in point.split(",")]
    by_hand = [left, bottom, (left + right) / 2, (top + bottom) / 2, right, top]
    assert points == pytest.approx(by_hand, abs=0.1)
    assert drawn.points("b").startswith(f"{left:.1f},")
    # The axis ends at the next tenth, and never at 0.
    assert Curves("", {"a": [0.31]}).top == pytest.approx(0.4) and Curves("", {"a": [0.0, NAN]}).top == 0.1


def page(folder, name: str, **given) -> str:
    tables = [table(name), ScoreTable(name, [name, name], [[name, Measured(0.5)]], 1, [None], notes=[name])]
    curves = [Curves(name, {name: [0.0, 1.0], "other": [1.0, 0.5]})]
    entries = [Entry(Picture("pictures/0.png", 40, 20, name), name)]
    write_scores_page(folder / "index.html", name, [name, "12 images"], tables, curves, entries)
    return (folder / "index.html").read_text("utf-8")


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', HOSTILE])
def test_text_is_escaped_and_nothing_comes_from_outside(tmp_path, name):
    content = page(tmp_path, name)
    assert not re.search(r"<script|onerror=[^&]*>|<img src=x", re.sub(r'"[^"]*"', '""', content))
    tags = set(re.findall(r"<([a-z]\w*)", content))
    assert "script" not in tags and "link" not in tags and "iframe" not in tags
    assert len(re.findall(r"<img ", content)) == 1
    # No address of the network, also none in the style.
    assert not re.search(r"(?:https?:)?//\w|url\(|@import", content)
    assert html.escape(name, quote=False).split()[0].split('"')[0] in content
    assert "default-src 'none'" in content


def test_the_page_holds_what_the_tables_hold(tmp_path):
    content = page(tmp_path, "Grad-CAM")
    cells = [html.unescape(cell).strip() for cell in re.findall(r"<td(?: class=\"word\")?>([^<]*)</td>", content)]
    assert cells[:8] == ["Grad-CAM", "0.500 [.250, .750]", "1.25", "12", "Baseline", "-0.125 [-.250, .000]", "-", "11"]
    # A bar and an interval for each known figure, a tick where there is a chance level.
    assert content.count("<rect ") == 3 and content.count('stroke="var(--ink)"') == 2
    assert content.count('stroke="var(--bad)"') == 1
    bars = re.findall(r'<rect x="([\d.]+)" width="([\d.]+)"', content)
    assert [tuple(map(float, bar)) for bar in bars] == [(25, 50), (12.5, 12.5), (0, 100)]
    # What is only there to compare with is faint, and nothing else.
    fills = re.findall(r'<rect [^>]*fill="var\(--(\w+)\)"', content)
    assert fills == ["accent", "faint", "accent"]
    assert content.count('<tr class="low">') == 1 and content.count("<polyline ") == 2
    assert 'src="pictures/0.png" width="40" height="20"' in content


@pytest.mark.slow
def test_a_browser_shows_it_without_complaint(tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    page(tmp_path, HOSTILE)
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        f"--disable-component-update --disable-sync --user-data-dir={tmp_path}/profile --enable-logging=stderr "
        "--virtual-time-budget=2000 --dump-dom"
    )
    url = (tmp_path / "index.html").resolve().as_uri()
    told = subprocess.run([chromium, *flags.split(), url], capture_output=True, timeout=120, check=True)
    dom = told.stdout.decode()
    # What a page says of errors, such as a style or an attribute that it refuses, goes to its console.
    complaints = [line for line in told.stderr.decode("utf-8", "replace").splitlines() if "CONSOLE" in line]
    assert complaints == []
    title = html.unescape(re.search(r"<title>(.*?)</title>", dom, re.S).group(1))
    assert title.startswith("</script><img src=x")
    assert len(re.findall("<polyline ", dom)) == 2 and len(re.findall("<img ", dom)) == 1
    text = html.unescape(re.sub(r"<[^>]*>", "\n", dom))
    assert text.count("document.title='owned'") >= 8


def test_a_narrow_terminal_keeps_names_and_headlines(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    wide = Measured(0.1234, 0.1, 0.2)
    names = [f"figure {number}" for number in range(5)]
    rows = [
        ["Gradual Contrastive Excitation", wide, *(wide for _ in names), 57],
        ["CAM", wide, *(wide for _ in names), 9],
    ]
    table = ScoreTable("localization", ["method", "localization [95 %]", *names, "n"], rows, 1, [None, None])
    print_tables([table])
    told = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(len, told.splitlines())) <= 80 and "…" not in told
    for word in ("Gradual", "Contrastive", "CAM", "57", "localization [95 %]", "figure 0"):
        assert word in told
    assert told.count("0.123 [.100, .200]") >= 4
    assert "Left out in this narrow terminal: " in told and "figure 4" in told
