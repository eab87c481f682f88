"""OxfordPets where files are missing, broken, or belong to something else."""

import os
import shutil
from io import BytesIO

import numpy as np
import pytest
from pets_tree import TRIMAP, build, plant, refused
from PIL import Image


@pytest.fixture
def root(tmp_path):
    return plant(tmp_path / "pets")


def broken(kind: str) -> bytes:
    out = BytesIO()
    if kind == "other size":
        Image.fromarray(np.full((9, 9), 2, np.uint8)).save(out, "PNG")
    elif kind == "other marks":
        Image.fromarray(TRIMAP + 1).save(out, "PNG")
    elif kind == "color":
        Image.new("RGB", (12, 8)).save(out, "PNG")
    elif kind == "JPEG":
        Image.fromarray(TRIMAP).save(out, "JPEG")
    else:
        Image.fromarray(np.random.default_rng(0).integers(1, 4, (80, 120), np.uint8)).save(out, "PNG")
        return b"" if kind == "empty" else out.getvalue()[:200]
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("other size", "were drawn on 9 x 9 px, but the file has 12 x 8 px"),
        ("other marks", "it should hold 1 (pet), 2 (background) and 3 (border)"),
        ("color", "it should have one channel of 8 bits, not mode RGB"),
        ("JPEG", "cannot identify image file"),
        ("empty", "cannot identify image file"),
        ("truncated", "truncated"),
        ("gone", "No such file"),
    ],
)
def test_a_trimap_that_cannot_be_used_costs_one_mask(root, caplog, kind, why):
    data = build(root)
    trimap = root / data.sets["val"].photos[1].trimap
    trimap.unlink() if kind == "gone" else trimap.write_bytes(broken(kind))
    for _ in range(2):
        batch = next(iter(data.val_dataloader()))
        assert batch["has_mask"].tolist() == [True, False, True]
        assert not batch["mask"][1].any() and batch["label"].tolist() == [0, 1, 2]
    (told,) = caplog.messages
    assert told.startswith("The trimap of oxford-iiit-pet/images/english_setter_") and why in told
    assert told.endswith("): it counts as not annotated.")


def test_missing_trimaps_are_counted_at_once(root, caplog):
    for number in (1, 2, 5):
        (root / f"oxford-iiit-pet/annotations/trimaps/japanese_chin_{number}.png").unlink()
    data = build(root)
    (told,) = caplog.messages
    assert told.startswith("3 photos have no trimap and count as not annotated: oxford-iiit-pet/images/japanese_chin_1")
    assert [sample["has_mask"] for sample in data.sets["test"]].count(False) == 1
    shutil.rmtree(root / "oxford-iiit-pet/annotations/trimaps")
    assert "mask" not in build(root).sets["val"][0]


def test_photos_that_cannot_be_read_are_skipped_and_counted(root):
    data = build(root)
    photo = root / data.sets["val"].photos[1].path
    photo.write_bytes(photo.read_bytes()[:-30])
    assert next(iter(data.val_dataloader()))["label"].tolist() == [0, 2]
    assert data.unreadable == 1


def test_absent_photos_are_refused_or_left_out(root, caplog):
    for name in ("Abyssinian_1", "english_setter_6"):
        (root / f"oxford-iiit-pet/images/{name}.jpg").unlink()
    refused(
        r"not complete: 2 of 18 photos are not in images/, such as Abyssinian_1\.jpg, .*allow_incomplete true", root
    )
    data = build(root, allow_incomplete=True)
    assert len(data.sets["test"]) == 5 and len(data.sets["train"]) + len(data.sets["val"]) == 11
    assert "2 of 18 photos" in caplog.text


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("Abyssinian_9", "line 2 should read like 'english_setter_12 13 2 8'"),
        ("Abyssinian_9 one 1 1", "line 2 should read like"),
        ("Abyssinian_9 1 1 1 1", "line 2 should read like"),
        ("Abyssinian 1 1 1", "line 2 should read like"),
        ("../images/Abyssinian_9 1 1 1", "line 2 should read like"),
        ("Abyssinian_9 0 1 1", "line 2 gives class 0, but there are classes 1 to 37"),
        ("Abyssinian_9 38 1 1", "line 2 gives class 38"),
        ("Abyssinian_9 2 1 1", "line 3 gives English Setter class 2, which is Abyssinian elsewhere"),
        ("english_setter_9 1 1 1", "line 2 gives English Setter class 1, which is Abyssinian elsewhere"),
        ("Abyssinian_1 1 1 1", "line 2 lists Abyssinian_1, which is listed before, here or in the other part"),
    ],
)
def test_malformed_lists_are_explained(root, line, match):
    path = root / "oxford-iiit-pet/annotations/trainval.txt"
    path.write_text(f"Abyssinian_1 1 1 1\n{line}\nenglish_setter_1 2 1 1\n")
    refused(f"trainval.txt is malformed: {match}.*; correct or remove the file", root)


def test_lists_of_other_lengths(root):
    annotations = root / "oxford-iiit-pet/annotations"
    test = annotations / "test.txt"
    text = test.read_text()
    test.write_text(f"\n{text}\n\n")
    assert len(build(root).sets["test"]) == 6
    test.write_text(f"{text}Abyssinian_1 1 1 1\n")
    refused(r"test\.txt is malformed: line 7 lists Abyssinian_1", root)
    test.write_text("")
    refused(r"test\.txt is malformed: it lists no photo", root)
    test.write_text(text.replace("japanese_chin", "Persian").replace(" 3 ", " 5 "))
    refused("has class 4: classes count from 1", root, allow_incomplete=True)


def test_links_may_not_leave_the_root(root, tmp_path):
    for path in ("images/Abyssinian_1.jpg", "annotations/trimaps/Abyssinian_1.png", "annotations/test.txt", "images"):
        path = root / "oxford-iiit-pet" / path
        os.rename(path, tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        refused("is a link that leaves the data folder", root)
        path.unlink()
        os.rename(tmp_path / "elsewhere", path)
    build(root)


def test_what_is_missing_is_told_with_the_remedy(root, tmp_path):
    refused(
        "does not exist: root should be a folder that holds oxford-iiit-pet/, or add --data.download true",
        "/no/where",
        OSError,
    )
    (tmp_path / "empty").mkdir()
    refused("oxford-iiit-pet should hold images/, .* add --data.download true to get", tmp_path / "empty", OSError)
    os.remove(root / "oxford-iiit-pet/annotations/test.txt")
    refused("should hold images/, annotations/trainval.txt and annotations/test.txt", root, OSError)
    refused("is not complete: remove or rename it", root, OSError, download=True)
