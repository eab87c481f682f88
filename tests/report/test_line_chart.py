import numpy as np

from livecam.report.drawing.line_chart import history_chart

BLUE, RED = (38, 110, 180), (200, 60, 50)


def drawn(picture, color):
    return (np.abs(picture.astype(int) - color).sum(2) < 12).any(0).nonzero()[0]


def test_a_chart_for_each_quantity_that_is_there():
    history = {"objective": [1.0, 0.5], "score": [0.9, 0.2], "l1": [0.0, 0.3], "tv": [0.0, 0.1], "step": [8.0]}
    whole, part = history_chart("I-GOS", history), history_chart("I-GOS", {"score": [0.9, 0.2]})
    assert whole.dtype == np.uint8 and whole.shape[0] == part.shape[0]
    assert whole.shape[1] > 4 * part.shape[1] and len(drawn(whole, BLUE)) > 4 * 160


def test_falling_lines_fall_and_stand_on_zero():
    picture = history_chart("x", {"score": [1.0, 0.9, 0.8]})
    rows = (np.abs(picture.astype(int) - BLUE).sum(2) < 12).nonzero()
    left, right = rows[0][rows[1].argmin()], rows[0][rows[1].argmax()]
    assert 10 < right - left < 25


def test_forced_steps_are_red():
    history = {"step": [8.0, 4e-6, 8.0]}
    assert len(drawn(history_chart("x", history, [True, False, True]), RED)) > 0
    assert len(drawn(history_chart("x", history, [True, True, True]), RED)) == 0


def test_what_is_empty_flat_or_long_is_drawn():
    assert history_chart("x", {}).shape[0] > 50
    assert history_chart("x", {"score": [0.0, 0.0]}).std() > 0
    assert (
        history_chart("a long title " * 40, {"score": list(np.linspace(1, 0, 301))}).shape
        == history_chart("x", {"score": [1.0]}).shape
    )
