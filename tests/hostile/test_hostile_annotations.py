"""Annotations that mean harm: entities, numbers without end, paths out of the root, links in circles, pipes."""

import json
import os

import pytest
from helpers.coco_tree import plant, polygon
from hostile_files import NAMES, is_harmless, photo

from livecam.core.text import printable
from livecam.data import AnnotatedPhotos, Coco, DogsVsWolves, ImageFolderData
from livecam.data.imagenet.boxes import read_xml

NESTED = "".join(f"<!ENTITY e{i + 1} '{f'&e{i};' * 10}'>" for i in range(12))
XML = {
    "laughs": f"<!DOCTYPE a [<!ENTITY e0 'ha'>{NESTED}]><annotation><object><name>&e12;</name></object></annotation>",
    "one long laugh": f"<!DOCTYPE a [<!ENTITY e '{'ha' * 50_000}'>]><annotation><object><name>{'&e;' * 9999}</name>"
    "</object></annotation>",
    "file": "<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><annotation><object><name>&e;</name></object>"
    "</annotation>",
    "address": "<!DOCTYPE a SYSTEM 'http://localhost:1/a.dtd' [<!ENTITY % e SYSTEM 'http://localhost:1/e'> %e;]>"
    "<annotation><object><name>&e;</name></object></annotation>",
    "odd encoding": "<?xml version='1.0' encoding='hex'?><annotation/>",
    "other root": "<html><script>alert(1)</script></html>",
    "empty": "",
}


@pytest.mark.parametrize("kind", XML)
def test_xml_opens_nothing_and_grows_into_nothing(tmp_path, kind):
    (tmp_path / "a.xml").write_text(XML[kind])
    with pytest.raises(ValueError, match=r"a\.xml is malformed: it .*; correct or remove the file\.$") as caught:
        read_xml(str(tmp_path / "a.xml"))
    assert "root:" not in str(caught.value) and len(str(caught.value)) < 500


def test_xml_that_says_little_or_too_much_is_read(tmp_path):
    digits = "9" * 5000
    size = f"<size><width>{digits}</width><height>4</height></size>"
    (tmp_path / "a.xml").write_text(f"<annotation>{size}{'<a>' * 9999}{'</a>' * 9999}</annotation>")
    assert read_xml(str(tmp_path / "a.xml")) == ([], None)


WRONG = [-1, 2**31, 10**400, 1e308, float("nan"), float("inf"), float("-inf"), "1", None, True, [], {}, "\x1b[2J"]


@pytest.mark.parametrize("value", WRONG, ids=range(len(WRONG)))
@pytest.mark.parametrize("key", ["label", "boxes", "width"])
def test_numbers_of_annotated_photos(tmp_path, key, value):
    photo(tmp_path / "a.png")
    entry = {"label": 1, "boxes": [[1, 2, 9, 9]], "width": 20, "height": 16}
    entry[key] = [[1, 2, value, 9]] if key == "boxes" else value
    (tmp_path / "annotations.json").write_text(json.dumps({"a.png": entry}))
    with pytest.raises(ValueError, match=r"/annotations\.json is malformed: .*; correct or remove") as caught:
        AnnotatedPhotos(str(tmp_path), num_workers=0)
    assert is_harmless(str(caught.value))


@pytest.mark.parametrize("value", WRONG, ids=range(len(WRONG)))
def test_numbers_of_polygons(tmp_path, value):
    outline = [*polygon(1, 1, 9, 9)[:-1], value]
    plant(tmp_path, ["a.jpg"], [("a.jpg", 1, [outline])], size=(20, 16))
    try:
        data = Coco(str(tmp_path), num_workers=0, image_size=8)
    except ValueError as error:
        assert "instances_val2017.json is malformed: the segmentation of annotation 0 should be polygons" in str(error)
    else:
        assert value in (-1, True) and data.sets["val"][0]["masks"].any()


OUTSIDE = [
    *("../secret.png", "../../../../etc/passwd", "/etc/passwd", "images/../../secret.png", "/dev/zero", "link.png"),
    *("a\0b", "", ".", "x" * 5000),
]


@pytest.mark.parametrize("name", OUTSIDE, ids=range(len(OUTSIDE)))
def test_no_path_leads_out_of_the_root(tmp_path, name):
    photo(tmp_path / "secret.png")
    photo(tmp_path / "root" / "a.png")
    (tmp_path / "root" / "link.png").symlink_to(tmp_path / "secret.png")
    path = tmp_path / "root" / "annotations.json"
    path.write_text(json.dumps({name: {"label": 0}}))
    with pytest.raises((ValueError, FileNotFoundError), match=r"leaves the data folder|which is not there|too long"):
        AnnotatedPhotos(str(tmp_path / "root"), num_workers=0)


def two_classes(root):
    for name in ("dogs/1.png", "dogs/2.png", "wolves/1.png", "wolves/2.png"):
        photo(root / name)
    return root


@pytest.mark.parametrize("kind", [ImageFolderData, DogsVsWolves])
@pytest.mark.parametrize("link", ["its folder", "outside", "a device"])
def test_links_lead_nowhere(tmp_path, kind, link):
    root = two_classes(tmp_path / "root")
    outside = photo(tmp_path / "secret.png")
    place = root / "dogs" / "x.png"
    place.symlink_to({"its folder": place.parent, "outside": outside, "a device": "/dev/zero"}[link])
    match = "a link to a folder that holds it" if link == "its folder" else "is a link that leaves the data folder"
    with pytest.raises(ValueError, match=rf"x\.png.* {match}"):
        kind(str(root), num_workers=0)


@pytest.mark.parametrize("kind", [ImageFolderData, DogsVsWolves])
def test_links_to_nothing_are_unreadable_files(tmp_path, kind):
    root = two_classes(tmp_path)
    (root / "dogs" / "itself.png").symlink_to(root / "dogs" / "itself.png")
    (root / "dogs" / "gone.png").symlink_to(root / "dogs" / "nowhere.png")
    (root / "cats").symlink_to(root / "cats")
    data = kind(str(root), num_workers=0, image_size=8)
    for part in data.sets.values():
        assert part.collate([part[index] for index in range(len(part))])["image"].shape[1:] == (3, 8, 8)
    unreadable = [path for part in data.sets.values() for path in part.unreadable_files]
    assert sorted(unreadable) == ["dogs/gone.png", "dogs/itself.png"]


def test_a_root_that_is_a_link_is_fine(tmp_path):
    """As many keep their ImageNet."""
    two_classes(tmp_path / "disk")
    (tmp_path / "root").symlink_to(tmp_path / "disk")
    assert len(ImageFolderData(str(tmp_path / "root"), num_workers=0).sets["train"]) == 2


@pytest.mark.parametrize("name", ["annotations.json", "near_duplicates.json"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "empty", "other text"])
def test_files_of_annotations_that_are_none(tmp_path, name, kind):
    root = two_classes(tmp_path)
    make = {"pipe": os.mkfifo, "folder": os.mkdir, "empty": lambda path: path.write_bytes(b"")}
    make.get(kind, lambda path: path.write_bytes(b"\xff\xfe\x00[["))(root / name)
    with pytest.raises(ValueError, match=rf"{name} is malformed: it is (no file|not JSON).*; correct or remove the"):
        DogsVsWolves(str(root), num_workers=0)


@pytest.mark.parametrize("name", NAMES)
def test_any_folder_can_be_a_class(tmp_path, name):
    """What it is called reaches pages and terminals in letters; the folder itself is found by its own name."""
    for folder in (NAMES[name], "other"):
        for number in range(3):
            photo(tmp_path / folder / f"{NAMES[name]}{number}.png")
    data = ImageFolderData(str(tmp_path), num_workers=0, image_size=8)
    assert sorted(data.class_names) == sorted([printable(NAMES[name]), "other"])
    assert all(map(is_harmless, data.class_names)) and len({*data.class_names}) == 2
    for part in data.sets.values():
        assert all(part[index]["image"].shape == (3, 8, 8) for index in range(len(part)))
        assert part.classes == data.class_names and not part.unreadable_files
