"""Boxes of ImageNet's validation images: pixels counted as ILSVRC counts them, copies, slips and other classes."""

import imagenet_trees as trees
import pytest
import torch
from imagenet_trees import SIDE, VAL, build, stem, told


def samples(root, **given):
    val = build(root, **given).sets["val"]
    return [val[index] for index in range(len(val))]


def one(root, *boxes, wnid="n01440764", **given):
    """The first photo alone, with boxes; what is said of it by an XML file."""
    trees.photo(root / "val" / wnid / f"{stem(1)}.JPEG", 9)
    trees.xml(root / "Annotations/val", {1: (wnid, boxes)}, **given)


def test_the_last_pixel_is_inside(tmp_path):
    one(tmp_path, (0, 0, 0 + 1, 2))
    (sample,) = samples(tmp_path)
    expected = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    expected[0:3, 0:2] = True
    assert torch.equal(sample["mask"], expected)


@pytest.mark.parametrize("scale", [2, 5])
def test_boxes_follow_resized_copies_where_the_size_is_known(tmp_path, scale):
    trees.flat(tmp_path / "val")
    trees.solution(tmp_path / "LOC_val_solution.csv")
    # Annotations of photos that were larger than the files are now.
    trees.xml(tmp_path / "Annotations/val", size=(SIDE * scale, SIDE * scale), scale=scale)
    assert torch.equal(torch.stack([sample["mask"] for sample in samples(tmp_path)]), trees.masks())


def test_a_cropped_copy_costs_its_mask(tmp_path, caplog):
    one(tmp_path, (4, 4, 9, 9), size=(80, 60))
    (sample,) = samples(tmp_path)
    assert not sample["has_mask"]
    assert any("drawn on 80 x 60 px, but the file has 40 x 40 px: it counts as not" in text for text in told(caplog))


def test_smaller_copies_are_refused_where_the_size_is_unknown(tmp_path, caplog):
    trees.flat(tmp_path / "val")
    big = {number: (wnid, [tuple(15 * edge for edge in box) for box in boxes]) for number, (wnid, boxes) in VAL.items()}
    trees.solution(tmp_path / "LOC_val_solution.csv", big)
    with pytest.raises(ValueError, match=r"Boxes of 4 of 4 validation images looked at reach beyond the file: .* XML"):
        build(tmp_path)
    trees.solution(tmp_path / "LOC_val_solution.csv")
    assert build(tmp_path).sets["val"].with_masks


@pytest.mark.parametrize("slip", [(5, 5, 5, 9), (5, 9, 12, 9), (9, 5, 5, 9), (5, 5, 5, 5)])
@pytest.mark.parametrize("written", ["csv", "xml"])
def test_boxes_without_area_are_dropped_and_counted(tmp_path, caplog, slip, written):
    trees.by_class(tmp_path / "val")
    marked = {1: (VAL[1][0], [slip, (4, 6, 9, 11)]), 2: (VAL[2][0], [slip])}
    if written == "csv":
        trees.solution(tmp_path / "LOC_val_solution.csv", marked)
    else:
        trees.xml(tmp_path / "Annotations/val", marked)
    found = {sample["label"]: sample for sample in samples(tmp_path) if sample["has_mask"]}
    assert list(found) == [999] and torch.equal(found[999]["mask"], trees.masks()[0])
    (said,) = [text for text in told(caplog) if "have boxes" in text]
    assert said.startswith("1 of 4 validation images have boxes, from ")
    assert said.endswith(" (boxes left out: 2 without area).")


def test_boxes_beyond_the_image_are_clipped(tmp_path):
    one(tmp_path, (30, -5, 60, 4))
    (sample,) = samples(tmp_path)
    expected = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    expected[0:5, 30:40] = True
    assert sample["has_mask"] and torch.equal(sample["mask"], expected)


@pytest.mark.parametrize("box", [(40, 0, 50, 9), (0, 40, 9, 44), (-9, 0, -1, 9), (0, -9, 9, -1)])
def test_boxes_outside_of_the_image_are_no_annotation(tmp_path, caplog, box):
    one(tmp_path, box)
    # Another photo has a box, so that there are masks at all.
    trees.photo(tmp_path / "val/n02099601" / f"{stem(7)}.JPEG")
    trees.xml(tmp_path / "Annotations/val", {7: VAL[7]})
    first, second = samples(tmp_path)
    assert not first["has_mask"] and not first["mask"].any() and second["has_mask"]
    assert any("(boxes left out: 1 outside of the image)" in text for text in told(caplog))


def test_boxes_outside_of_an_image_of_unknown_size_are_no_annotation(tmp_path, caplog):
    one(tmp_path, (40, 0, 50, 9), size=None)
    (sample,) = samples(tmp_path)
    assert not sample["has_mask"]
    assert any("lies outside of it: it counts as not annotated" in text for text in told(caplog))


@pytest.mark.parametrize("written", ["csv", "xml"])
def test_only_boxes_of_the_own_class_count(tmp_path, caplog, written):
    trees.by_class(tmp_path / "val")
    # The second object of the first photo is of another class.
    if written == "csv":
        rows = f"{stem(1)},n15075141 4 6 9 11 n01440764 20 20 30 30\n{stem(2)},n15075141 0 0 39 39\n"
        (tmp_path / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + rows)
    else:
        trees.xml(tmp_path / "Annotations/val", {1: VAL[1], 2: ("n15075141", VAL[2][1])})
        path = tmp_path / "Annotations/val" / f"{stem(1)}.xml"
        box = "<bndbox><xmin>20</xmin><ymin>20</ymin><xmax>30</xmax><ymax>30</ymax></bndbox>"
        more = f"<object><name>dog</name>{box}</object></annotation>"
        path.write_text(path.read_text().replace("</annotation>", more))
    found = [sample for sample in samples(tmp_path) if sample["has_mask"]]
    assert len(found) == 1 and torch.equal(found[0]["mask"], trees.masks()[0])
    assert any("1 of 4 validation" in text and "left out: 2 of another class" in text for text in told(caplog))


def test_where_boxes_lie_can_be_said(tmp_path, monkeypatch):
    root, other = tmp_path / "root", tmp_path / "other"
    trees.by_class(root / "val")
    trees.xml(root / "Annotations/val", {1: VAL[31]})
    trees.solution(other / "boxes.csv")
    trees.xml(other / "xml")
    trees.solution(root / "here.csv")
    monkeypatch.chdir(other)
    for given in (other / "boxes.csv", other / "xml", "boxes.csv", "xml", "here.csv"):
        found = {sample["label"]: sample["mask"] for sample in samples(root, boxes=str(given))}
        assert torch.equal(found[207], trees.masks()[2])


def test_boxes_that_were_asked_for_must_be_there(tmp_path):
    trees.by_class(tmp_path / "val")
    with pytest.raises(
        FileNotFoundError, match=r"no file or folder nothing\.csv with boxes: give Kaggle's LOC_val_sol"
    ):
        build(tmp_path, boxes="nothing.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="was given for boxes holds no XML file"):
        build(tmp_path, boxes="empty")


def test_without_boxes_there_are_no_masks_and_that_is_said_once(tmp_path, caplog):
    trees.by_class(tmp_path / "val")
    assert all("mask" not in sample for sample in samples(tmp_path))
    assert [text for text in told(caplog) if "No boxes" in text] == [
        f"No boxes were found in {tmp_path}: validation images have no masks."
    ]


def test_images_that_boxes_describe_and_that_are_absent_are_reported(tmp_path):
    trees.by_class(tmp_path / "val")
    trees.xml(tmp_path / "Annotations/val", VAL | {3: VAL[1]})
    with pytest.raises(ValueError, match=rf"Annotations/val describes 1 images that are not there: {stem(3)}[;.]"):
        build(tmp_path, allow_incomplete=False)
