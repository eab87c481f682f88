"""Chunks cover everything once and report to whoever runs them; the bar of their own waits until work proves long."""

import io

from helpers.toys import StagedNet, build, pictures
from hypothesis import given
from hypothesis import strategies as st

from livecam.explain import ScoreCAM, SmoothGradCAMPlusPlus, explain
from livecam.runtime import progress
from livecam.runtime.progress import chunks, no_progress, reporting_to


@given(count=st.integers(0, 200), size=st.integers(1, 50))
def test_slices_cover_everything_once_in_order(count, size):
    told = []
    with reporting_to(lambda *report: told.append(report)):
        parts = list(chunks("work", count, size))
    assert [i for part in parts for i in range(count)[part]] == list(range(count))
    assert all(0 < part.stop - part.start <= size for part in parts)
    assert told == [("work", part.stop, count) for part in parts]


def test_methods_of_many_passes_report():
    told = []
    with reporting_to(lambda *report: told.append(report)):
        explain(
            build(StagedNet),
            pictures(2),
            [ScoreCAM(internal_batch_size=6), SmoothGradCAMPlusPlus(num_samples=3, internal_batch_size=4)],
        )
    done = {"Score-CAM": [(6, 16), (12, 16), (16, 16)], "Smooth Grad-CAM++": [(2, 3), (3, 3)]}
    assert told == [(label, *numbers) for label, parts in done.items() for numbers in parts]


def terminal(monkeypatch):
    """Standard error as a terminal that keeps what is written to it; no fixture, as pytest puts its own there after."""
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", screen)
    return screen


def test_a_bar_appears_for_long_work_only(monkeypatch):
    screen = terminal(monkeypatch)
    list(chunks("quick", 100, 10))
    assert screen.getvalue() == ""
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    for _ in chunks("long", 100, 10):
        pass
    assert "long" in screen.getvalue()
    with no_progress():
        before = screen.getvalue()
        list(chunks("silent", 100, 10))
    assert screen.getvalue() == before


def test_a_bar_gives_way_to_one_that_is_there(monkeypatch):
    terminal(monkeypatch)
    from rich.console import Console
    from rich.progress import Progress

    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    with Progress(console=Console(stderr=True)):
        assert len(list(chunks("inner", 10, 1))) == 10


def test_an_interrupted_bar_leaves_the_screen(monkeypatch):
    screen = terminal(monkeypatch)
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    work = chunks("long", 100, 10)
    next(work), next(work)
    work.close()
    list(chunks("next", 100, 10))
    assert "next" in screen.getvalue()
