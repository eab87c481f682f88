"""A row per class beside the input."""

import numpy as np
import pytest
import torch

from livecam.report.drawing.comparison_grid import class_rows, rows_caption
from livecam.report.drawing.panels import BAD, GOOD, to_uint8
from livecam.report.drawing.strips import Sample

FIRST, SECOND = "Occlusion 10", "Pneumonoultramicroscopicsilicovolcanoconiosis"


def samples(label=None, notes=("", ""), names=("dogs", "wolves"), name="rex.jpg"):
    noise = torch.Generator().manual_seed(0)
    pixels = torch.rand(3, 28, 28, generator=noise)
    return [
        Sample(
            name,
            pixels,
            names[1],
            explained,
            probability,
            {title: torch.rand(3, 28, 28, generator=noise) for title in (FIRST, SECOND)},
            {FIRST: note, SECOND: ""},
            label,
        )
        for explained, probability, note in zip(names, (0.25, 0.75), notes)
    ]


def places(picture, pixels):
    """Where a picture of 28 px stands in another, six times enlarged: (y, x)."""
    large = to_uint8(pixels).repeat(6, 0).repeat(6, 1)
    height, width = large.shape[:2]
    corners = (picture[: 1 - height, : 1 - width] == large[0, 0]).all(2)
    return [(y, x) for y, x in np.argwhere(corners) if (picture[y : y + height, x : x + width] == large).all()]


def test_every_map_stands_in_the_row_of_its_class_and_the_column_of_its_method():
    given = samples()
    picture = class_rows(given)
    found = [[places(picture, sample.overlays[title]) for title in (FIRST, SECOND)] for sample in given]
    ((((top, left),), ((top2, right),)), (((low, left2),), ((low2, right2),))) = found
    assert top == top2 and low == low2 and left == left2 and right == right2
    assert low >= top + 168 and right >= left + 168
    ((y, x),) = places(picture, given[0].pixels)
    assert y == top and x + 168 < left


@pytest.mark.parametrize(("label", "frame"), [(None, None), ("wolves", GOOD), ("dogs", BAD)])
def test_frame_tells_right_from_wrong(label, frame):
    picture = class_rows(samples(label))
    for color in (GOOD, BAD):
        assert ((picture == color).all(2).sum() > 1000) == (color == frame)


def test_only_rows_with_remarks_leave_room_for_them():
    plain = class_rows(samples()).shape[0]
    assert class_rows(samples(notes=("no evidence", ""))).shape[0] == plain + 20
    assert class_rows(samples(notes=("no evidence", "no evidence"))).shape[0] == plain + 40


def test_long_words_stay_inside():
    picture = class_rows(samples("x" * 90, names=("y" * 90, "z z " * 40), name="n" * 400))
    edges = np.concatenate(
        [picture[:, :10].reshape(-1, 3), picture[:, -10:].reshape(-1, 3), picture[-10:].reshape(-1, 3)]
    )
    assert (edges == 255).all()


def test_caption_names_every_class():
    told = rows_caption(samples("dogs"))
    assert told == "rex.jpg · true dogs · predicted wolves · dogs 0.25 · wolves 0.75"
    assert rows_caption(samples()) == "rex.jpg · predicted wolves · dogs 0.25 · wolves 0.75"
