"""ImageNet with files that are damaged, misplaced or malicious: one sentence says which and what is wrong."""

import os

import imagenet_trees as trees
import pytest
from imagenet_trees import LABELS, VAL, build, stem, told
from PIL import Image

HEADER = "ImageId,PredictionString\n"


def refused(root, match, error=ValueError, **given):
    with pytest.raises(error, match=match) as caught:
        build(root, **given)
    assert "\n" not in str(caught.value)


def test_a_truncated_photo_is_skipped_and_counted(tmp_path):
    trees.by_class(tmp_path / "val")
    path = tmp_path / "val/n01440764" / f"{stem(2)}.JPEG"
    # The header says what it is, the pixels are cut off.
    path.write_bytes(path.read_bytes()[:-200])
    data = build(tmp_path, batch_size=4)
    assert next(iter(data.val_dataloader()))["label"].tolist() == [999, 207, 999]
    assert data.sets["val"].unreadable_files == [f"val/n01440764/{stem(2)}.JPEG"]


def test_gray_cmyk_and_png_called_jpeg(tmp_path):
    """ILSVRC2012 has all three."""
    folder = tmp_path / "val/n01440764"
    folder.mkdir(parents=True)
    Image.new("L", (40, 40), 100).save(folder / "a.JPEG", "JPEG", quality=100)
    # No ink but black: 255 - 155 is left of white.
    Image.new("CMYK", (40, 40), (0, 0, 0, 155)).save(folder / "b.JPEG", "JPEG", quality=100)
    Image.new("RGB", (40, 40), (100, 100, 100)).save(folder / "c.JPEG", "PNG")
    val = build(tmp_path).sets["val"]
    for index in range(3):
        image = val[index]["image"]
        assert image.shape == (3, 40, 40) and abs(255 * image - 100).max() < 3


def test_a_flat_val_without_labels(tmp_path):
    trees.flat(tmp_path / "val")
    refused(
        tmp_path,
        r"lie in one folder, and no file says which class each has: put LOC_val_solution\.csv, ILSVRC2012_validation_"
        r"ground_truth\.txt with meta\.mat, or imagenet_2012_validation_synset_labels\.txt into one of the root, "
        r"ILSVRC2012_devkit_t12/data, devkit/data, val, or the images into a folder for each class\.$",
        FileNotFoundError,
    )


def test_numbers_without_meta(tmp_path):
    trees.flat(tmp_path / "val")
    trees.lists(tmp_path)
    refused(tmp_path, r"numbers the classes in an order of its own, which meta\.mat of the", FileNotFoundError)


@pytest.mark.parametrize(
    ("numbers", "match"),
    [
        (lambda ids: {wnid: number + 1 for wnid, number in ids.items()}, "should number the 1000 classes"),
        (lambda ids: {wnid: number for wnid, number in ids.items() if number != 5}, "should number the 1000 classes"),
        (lambda ids: ids | {"n01440764": "one"}, "should hold the synsets of the development kit"),
    ],
)
def test_meta_of_other_classes(tmp_path, numbers, match):
    trees.flat(tmp_path / "val")
    trees.lists(tmp_path)
    trees.meta(tmp_path, numbers(trees.ids()))
    refused(tmp_path, rf"meta\.mat is malformed: it {match}.*; correct or remove the file")


@pytest.mark.parametrize("content", [b"", b"no matrix at all", b"\0" * 200])
def test_meta_that_is_no_mat_file(tmp_path, content):
    trees.flat(tmp_path / "val")
    trees.lists(tmp_path)
    (tmp_path / "meta.mat").write_bytes(content)
    refused(tmp_path, r"meta\.mat is malformed: it should hold the synsets of the development kit")


def test_meta_that_ends_the_process_of_its_reader(tmp_path):
    """One byte is enough: scipy looks up the type of numbers that it names, wherever that is in memory."""
    trees.flat(tmp_path / "val")
    trees.lists(tmp_path)
    trees.meta(tmp_path)
    whole = (tmp_path / "meta.mat").read_bytes()
    (tmp_path / "meta.mat").write_bytes(whole.replace(b"\x0c\0\0\0\x08\0\0\0", b"\0\0\0\0\x08\0\0\0", 1))
    refused(tmp_path, r"meta\.mat is malformed: it should hold the synsets of .* \(its reader crashed\); correct or")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "it is empty"),
        (b"n01440764\nn99999999\n", "line 2 is 'n99999999', which is no class of ILSVRC2012"),
        (b"12\n1001\n", "line 2 is '1001', which is no class"),
        (b"12\n0\n", "line 2 is '0', which is no class"),
        (b"tench\n", "line 1 is 'tench', which is no class"),
        (b"\xff\xfe\x80", "it is no text"),
    ],
)
def test_malformed_lists(tmp_path, content, match):
    trees.flat(tmp_path / "val")
    trees.meta(tmp_path)
    (tmp_path / "ILSVRC2012_validation_ground_truth.txt").write_bytes(content)
    refused(tmp_path, rf"ground_truth\.txt is malformed: {match}")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "its first line should be ImageId,PredictionString"),
        (b"image,label\na,n01440764 1 2 3 4\n", "its first line should be ImageId,PredictionString"),
        (f"{HEADER}a,n01440764 1 2 3\n".encode(), "line 2 should hold 'wnid xmin ymin xmax ymax', once or several"),
        (f"{HEADER}a,\n".encode(), "line 2 should hold"),
        (f"{HEADER}a\n".encode(), "line 2 should hold"),
        (f"{HEADER}a,n01440764 1 2 3 4\nb,n99999999 1 2 3 4\n".encode(), "line 3 names 'n99999999', which is no class"),
        (f"{HEADER}a,n01440764 1 2 x 4\n".encode(), "line 2 has a box that is not xmin, ymin, xmax and ymax in pixels"),
        (f"{HEADER}a,n01440764 1 2 nan 4\n".encode(), "line 2 has a box that is not"),
        (f"{HEADER}a,n01440764 1 2 3 4\na,n01440764 1 2 3 4\n".encode(), "line 3 describes a again"),
        (f'{HEADER}a,"n01440764 1 2 3 4\n'.encode(), "it is not CSV"),
        (HEADER.encode() + b"\xff\xfe,n01440764 1 2 3 4\n", "it is not CSV"),
        (HEADER.encode() + b"a" * 200_000 + b",x\n", "it is not CSV"),
    ],
)
@pytest.mark.parametrize("plant", [trees.flat, trees.by_class])
def test_malformed_csv(tmp_path, content, match, plant):
    plant(tmp_path / "val")
    (tmp_path / "LOC_val_solution.csv").write_bytes(content)
    refused(tmp_path, rf"LOC_val_solution\.csv is malformed: {match}.*; correct or remove the file")


BOX = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "it is not XML"),
        ("<annotation><object>", "it is not XML"),
        ("<?xml version='1.0' encoding='no-such'?><annotation/>", "it is not XML"),
        ("<html/>", "it should hold an <annotation>, not <html>"),
        (f"<annotation><object>{BOX}</object></annotation>", "an object has no name"),
        ("<annotation><object><name>n01440764</name></object></annotation>", "the object 'n01440764' has a box that"),
        (
            f"<annotation><object><name>dog</name>{BOX.replace('9', 'nine')}</object></annotation>",
            "the object 'dog' has a",
        ),
    ],
)
def test_malformed_xml(tmp_path, content, match):
    trees.by_class(tmp_path / "val")
    trees.xml(tmp_path / "Annotations/val")
    (tmp_path / "Annotations/val" / f"{stem(2)}.xml").write_text(content)
    refused(tmp_path, rf"{stem(2)}\.xml is malformed: {match}")


def test_unknown_folders(tmp_path):
    trees.by_class(tmp_path / "val")
    trees.train(tmp_path / "train", "n01440764", "tench")
    refused(
        tmp_path,
        r"train holds folders that are no classes of ILSVRC2012: tench\. Did you mean n01440764 \(tench\) by 'tench'\? "
        r"Folders bear WordNet ids such as n01440764: rename or remove these, or use ImageFolderData for photos of",
    )
    trees.train(tmp_path / "train", *(f"x{number}" for number in range(7)))
    refused(tmp_path, r"ILSVRC2012: tench, x0, x1, x2, x3 and 3 more\.")
    (tmp_path / "train").rename(tmp_path / "aside")
    trees.train(tmp_path / "val", "n99999999")
    refused(tmp_path, r"val holds folders that are no classes of ILSVRC2012: n99999999\. Folders bear")


def test_a_wrong_root(tmp_path):
    refused(tmp_path / "no", "does not exist: root should be a folder that holds val/, and train/", FileNotFoundError)
    trees.train(tmp_path / "train")
    refused(tmp_path, r"should hold val/, or Kaggle's ILSVRC/Data/CLS-LOC/val/", FileNotFoundError)


def test_no_image_with_a_class(tmp_path):
    (tmp_path / "val").mkdir()
    trees.solution(tmp_path / "LOC_val_solution.csv")
    refused(tmp_path, "holds no image whose class is known, so there is nothing to validate on; val/ holds 0 of")


def test_paths_of_a_csv_lead_nowhere(tmp_path):
    root, secret = tmp_path / "root", tmp_path / "secret.JPEG"
    trees.flat(root / "val")
    trees.photo(secret)
    rows = [f"{name},n01440764 1 2 3 4\n" for name in ("../../secret", str(secret.with_suffix("")), stem(2))]
    (root / "LOC_val_solution.csv").write_text(HEADER + "".join(rows))
    assert [photo.path for photo in build(root).sets["val"].photos] == [f"val/{stem(2)}.JPEG"]
    refused(root, r"labels 2 images that are not there: \.\./\.\./secret, /", allow_incomplete=False)


@pytest.mark.parametrize("what", ["val", "train/n01440764", "val/photo", "csv", "xml folder", "xml"])
def test_nothing_leads_out_of_the_root(tmp_path, what):
    root, outside = tmp_path / "root", tmp_path / "outside"
    for place in (root, outside):
        trees.flat(place / "val")
        trees.train(place / "train")
        trees.solution(place / "LOC_val_solution.csv")
        trees.xml(place / "Annotations/val")
    inner = {
        "val/photo": f"val/{stem(2)}.JPEG",
        "csv": "LOC_val_solution.csv",
        "xml folder": "Annotations/val",
        "xml": f"Annotations/val/{stem(2)}.xml",
    }.get(what, what)
    os.rename(root / inner, tmp_path / "aside")
    os.symlink(outside / inner, root / inner)
    refused(root, "is a link that leaves the data folder")


def test_other_files_and_hidden_ones(tmp_path, caplog):
    trees.flat(tmp_path / "val")
    trees.solution(tmp_path / "val/LOC_val_solution.csv")
    for name in (".DS_Store", ".hidden.JPEG", "movie.mp4"):
        (tmp_path / "val" / name).write_bytes(b"")
    assert build(tmp_path).sets["val"].targets == [LABELS[wnid] for wnid, _ in VAL.values()]
    assert any(text.endswith("that are not images: 1 of .mp4.") for text in told(caplog))


@pytest.mark.parametrize("size", ["<width>40</width>", "<width>0</width><height>4</height>", "<width>4.5</width>", ""])
def test_a_size_that_nobody_wrote_is_unknown(tmp_path, size):
    trees.flat(tmp_path / "val")
    trees.solution(tmp_path / "LOC_val_solution.csv")
    (tmp_path / "Annotations/val").mkdir(parents=True)
    box = "<bndbox><xmin>4</xmin><ymin>6</ymin><xmax>9</xmax><ymax>11</ymax></bndbox>"
    content = f"<annotation><size>{size}</size><object><name>n15075141</name>{box}</object></annotation>"
    (tmp_path / "Annotations/val" / f"{stem(1)}.xml").write_text(content)
    first = build(tmp_path).sets["val"].photos[0]
    assert first.size is None and first.boxes == ((4, 6, 10, 12),)


@pytest.mark.parametrize("boxes", ["LOC_val_solution.csv", "val/LOC_val_solution.csv"])
def test_names_may_have_the_class_appended(tmp_path, boxes):
    trees.flat(tmp_path / "val")
    for path in (tmp_path / "val").iterdir():
        path.rename(path.with_name(f"{path.stem}_n01440764.JPEG"))
    trees.solution(tmp_path / boxes)
    found = build(tmp_path).sets["val"]
    assert [photo.label for photo in found.photos] == [999, 0, 207, 999] and all(p.boxes for p in found.photos)
