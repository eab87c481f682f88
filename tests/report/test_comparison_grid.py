"""The grid over networks: every map in its place, nothing cut, nothing left out in silence."""

import numpy as np
import pytest
import torch
from PIL import Image

from livecam.report.drawing.comparison_grid import side_by_side
from livecam.report.drawing.strips import Sample, printed_names, samples_of
from livecam.report.drawing.text_layout import fit, width_of, wrap

RED, GREEN, BLUE, CYAN = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 255, 255)
YELLOW, BLANK = (255, 255, 0), (240, 240, 238)


def plain(color, size=32):
    return (torch.tensor(color) / 255)[:, None, None].expand(3, size, size)


def sample(size=32, explained="cat", notes=None, **colors):
    overlays = {row: plain(color, size) for row, color in colors.items()}
    return Sample("photo.jpg", plain((9, 9, 9), size), "cat", explained, 0.75, overlays, notes or {})


def draw(columns, rows=("CAM", "GradCAM"), photo=(64, 48), **given):
    return side_by_side(Image.new("RGB", photo, YELLOW), columns, rows, **given)


def box(picture, color):
    """Left, top, width and height of all pixels of a color, which fill the box."""
    ys, xs = np.nonzero((picture == color).all(2))
    found = (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1)
    assert len(xs) == found[2] * found[3]
    return tuple(map(int, found))


def inked(picture, left, top, width, height):
    return bool((picture[top : top + height, left : left + width].max(2) < 150).any())


def test_networks_are_columns_and_methods_rows():
    picture = draw({"one": sample(CAM=RED, GradCAM=GREEN), "two": sample(CAM=BLUE, GradCAM=CYAN)})
    red, green, blue, cyan, photo = (box(picture, color) for color in (RED, GREEN, BLUE, CYAN, YELLOW))
    assert red[2:] == green[2:] == blue[2:] == cyan[2:] == (160, 160)
    assert red[0] == green[0] < blue[0] == cyan[0] and red[1] == blue[1] < green[1] == cyan[1]
    assert photo[0] < red[0] and photo[1] == red[1] and photo[2] / photo[3] == pytest.approx(64 / 48, rel=0.02)
    # Labels and answers above each column, the method's name left of its row, paper all around.
    assert all(inked(picture, x, 0, 160, red[1]) for x in (red[0], blue[0]))
    assert all(inked(picture, red[0] - 100, y + 60, 100, 40) for y in (red[1], green[1]))
    assert (picture[:, -8:] == 255).all() and (picture[-8:] == 255).all()


def test_a_method_that_does_not_fit_leaves_a_labeled_cell():
    picture = draw({"one": sample(CAM=RED, GradCAM=GREEN), "two": sample(CAM=BLUE)})
    (x, *_), (_, y, *_) = box(picture, BLUE), box(picture, GREEN)
    cell = picture[y : y + 160, x : x + 160]
    assert (cell[:60] == BLANK).all() and (cell[100:] == BLANK).all() and inked(cell, 0, 60, 160, 40)
    nothing = draw({"one": sample(CAM=RED, GradCAM=GREEN), "two": sample()})
    assert nothing.shape == picture.shape and not (nothing == BLUE).all(2).any()


def test_maps_of_all_sizes_are_brought_to_one_height():
    picture = draw({"small": sample(8, CAM=RED), "odd": sample(90, CAM=BLUE), "large": sample(224, CAM=GREEN)}, ["CAM"])
    assert [box(picture, color)[1:] for color in (RED, BLUE, GREEN)] == [(box(picture, RED)[1], 224, 224)] * 3
    huge = draw({"one": sample(600, CAM=RED), "two": sample(32, CAM=BLUE)}, ["CAM"], most=300)
    assert box(huge, RED)[2:] == box(huge, BLUE)[2:] == (300, 300)


def test_pixels_of_small_networks_stay_square():
    one = sample(2, CAM=RED)
    one.overlays["CAM"] = torch.stack([torch.eye(2), torch.zeros(2, 2), 1 - torch.eye(2)])
    picture = draw({"one": one, "two": sample(2, CAM=GREEN)}, ["CAM"])
    colors = {tuple(color) for color in picture.reshape(-1, 3) if color.max() == 255 and color.min() == 0}
    assert colors == {RED, GREEN, BLUE, YELLOW}


@pytest.mark.parametrize("size", [(4000, 2), (2, 4000), (1, 1)])
def test_photos_of_any_shape_stay_in_their_place(size):
    picture = draw({"one": sample(CAM=RED), "two": sample(CAM=BLUE)}, ["CAM"], photo=size)
    left, _, width, height = box(picture, YELLOW)
    assert width <= 200 and height <= 160 and left + width < box(picture, RED)[0]


def test_long_labels_take_more_lines_and_push_the_maps_down():
    label = "unet/mobilenet_v2, skips zeroed (2026-11-24_14-33-13)"
    short, long = (draw({name: sample(CAM=RED), "two": sample(CAM=BLUE)}, ["CAM"]) for name in ("unet", label))
    assert long.shape[1] == short.shape[1] and box(long, RED)[1] > box(short, RED)[1]
    wide = draw({"one": sample(CAM=RED), "two": sample(CAM=BLUE)}, ["Extraordinarilylongmethodname"])
    assert wide.shape[1] > short.shape[1]


def test_remarks_have_a_line_only_where_there_are_some():
    columns = {"one": sample(CAM=RED, GradCAM=GREEN), "two": sample(CAM=BLUE, GradCAM=CYAN)}
    bare = draw(columns)
    columns["two"].notes["CAM"] = "no evidence"
    noted = draw(columns)
    x, y, _, tall = box(noted, BLUE)
    assert noted.shape[0] == bare.shape[0] + 20 and inked(noted, x, y + tall, 160, 20)
    assert not inked(noted, box(noted, RED)[0], y + tall, 160, 20)


def test_another_class_than_the_predicted_one_is_told():
    assert sample(explained="dog").statements == ["predicted cat", "explained dog 0.75"]
    told = draw({"one": sample(CAM=RED), "two": sample(explained="dog", CAM=BLUE)}, ["CAM"])
    assert box(told, RED)[1] > box(draw({"one": sample(CAM=RED), "two": sample(CAM=BLUE)}, ["CAM"]), RED)[1]


class Found:
    """An explanation of two images with a note of its own."""

    def __init__(self, details, degenerate=(False, True)):
        self.map = self.raw = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0))
        self.target = self.predicted = torch.tensor([0, 1])
        self.probability = torch.tensor([0.9, 0.6])
        self.degenerate, self.details = torch.tensor(degenerate), details


class Method:
    signed = False
    clip_fraction = 0.0

    def __init__(self, name, label):
        self.name, self.label = name, label


def test_notes_of_methods_are_shown_unless_there_is_no_evidence():
    methods = [Method("cam", "CAM"), Method("gradcam", "Grad-CAM")]
    found = {"cam": Found({"note": "as it was"}), "gradcam": Found({})}
    first, second = samples_of(torch.rand(2, 3, 8, 8), found, methods, ["a", "b"])
    assert first.notes == {"CAM": "as it was", "Grad-CAM": ""} and set(second.notes.values()) == {"no evidence"}


def test_a_network_that_no_method_fits_still_answers():
    methods = [Method("cam", "CAM")]
    first, _ = samples_of(torch.rand(2, 3, 8, 8), {}, methods, ["a", "b"], ["cat", "dog"], prediction=Found({}))
    assert first.caption == "a · predicted cat 0.90" and first.overlays == {}


def test_names_stay_apart_where_one_of_two_alike_is_missing():
    methods = [Method("gradcam", "Grad-CAM"), Method("gradcam_deep", "Grad-CAM")]
    found, printed = {"gradcam_deep": Found({})}, printed_names(methods)
    alone, _ = samples_of(torch.rand(2, 3, 8, 8), found, methods, ["a", "b"])
    among, _ = samples_of(torch.rand(2, 3, 8, 8), found, methods, ["a", "b"], printed=printed)
    assert list(alone.overlays) == ["Grad-CAM"] and list(among.overlays) == ["Grad-CAM deep"]


def test_texts_are_broken_at_spaces_and_only_long_words_inside():
    lines = wrap("one two  three " + "x" * 60, 60, 15)
    assert lines[:2] == ["one two", "three"] and "".join(lines[2:]) == "x" * 60
    assert all(width_of(line, 15) <= 60 for line in lines) and wrap("", 60, 15) == []
    assert wrap("wide", 1, 15) == list("wide") and fit("word " * 20, 60, 15).endswith("…")
