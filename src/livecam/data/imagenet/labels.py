"""What the classes of ILSVRC2012 are called, and the files that say which class a validation image has."""

import csv
import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

from livecam.core.errors import MissingFileError
from livecam.data.annotation_files import malformed
from livecam.data.folder import check_inside
from livecam.data.photo_dataset import Box

CSV = "LOC_val_solution.csv"
NUMBERS = "ILSVRC2012_validation_ground_truth.txt"
WNIDS = "imagenet_2012_validation_synset_labels.txt"
META = "meta.mat"
# In a process of its own: damaged files make scipy's reader end the process that it runs in.
_READ_META = """
import json, sys
from scipy.io import loadmat
synsets = loadmat(sys.argv[1], squeeze_me=True)["synsets"].reshape(-1)
leaves = [synset for synset in synsets if int(synset["num_children"]) == 0]
print(json.dumps({str(int(leaf["ILSVRC2012_ID"])): str(leaf["WNID"]) for leaf in leaves}))
"""


class Marked(NamedTuple):
    """One object of an image: its class, and a box ``(xmin, ymin, xmax, ymax)`` as its file has it."""

    wnid: str
    box: Box


def ilsvrc_classes() -> dict[str, str]:
    """The 1000 WordNet ids and the names of their classes, in the order of labels, which is that of the ids."""
    # Imported late: timm takes seconds.
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    names = {wnid: info.label_name_to_description(wnid).split(",")[0] for wnid in sorted(info.label_names())}
    count = Counter(names.values())
    # There are two cranes and two maillots; a name asked for must mean one class.
    return {wnid: name if count[name] == 1 else f"{name} ({wnid})" for wnid, name in names.items()}


def find_labels(root: str, places: Iterable[str], wnids: Collection[str]) -> tuple[str, dict[str, str]]:
    """Classes of the validation images by the first file that says them.

    Args:
        root: Folder of the data set.
        places: Folders to look in, by first choice.
        wnids: The classes that there are.

    Returns:
        Path of the file, and image name without suffix -> WordNet id.

    Raises:
        MissingFileError: When there is no such file, or one that it needs is missing.
        ValueError: When one is malformed.
    """
    places = list(places)
    if path := first_of(root, places, CSV):
        return path, {name: marked[0].wnid for name, marked in read_solution(path, wnids).items()}
    for name in (NUMBERS, WNIDS):
        if path := first_of(root, places, name):
            return path, _read_list(path, root, places, wnids)
    where = ", ".join("the root" if place == root else os.path.relpath(place, root) for place in places)
    raise MissingFileError(
        f"The validation images of {root} lie in one folder, and no file says which class each has: put {CSV}, "
        f"{NUMBERS} with {META}, or {WNIDS} into one of {where}, or the images into a folder for each class."
    )


def first_of(root: str, places: Iterable[str], name: str) -> str | None:
    """Path of a file in the first of some folders that has it; it must lie below the root."""
    for place in places:
        if os.path.isfile(path := os.path.join(place, name)):
            check_inside(path, root)
            return path
    return None


def read_solution(path: str, wnids: Collection[str]) -> dict[str, list[Marked]]:
    """Objects of each image, at least one, by a CSV file as Kaggle has it: ``ImageId,PredictionString``.

    Raises:
        ValueError: When it is malformed.
    """
    boxes: dict[str, list[Marked]] = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if not {"ImageId", "PredictionString"} <= {*(rows.fieldnames or ())}:
                raise malformed(path, "its first line should be ImageId,PredictionString")
            for row in rows:
                image, line = row["ImageId"], f"line {rows.line_num}"
                if image in boxes:
                    raise malformed(path, f"{line} describes {image} again")
                boxes[image] = _marked(row["PredictionString"] or "", path, line, wnids)
    except (csv.Error, UnicodeDecodeError) as error:
        raise malformed(path, f"it is not CSV ({error})") from error
    return boxes


def _marked(text: str, path: str, line: str, wnids: Collection[str]) -> list[Marked]:
    words = text.split()
    if not words or len(words) % 5:
        raise malformed(path, f"{line} should hold 'wnid xmin ymin xmax ymax', once or several times")
    marked = []
    for wnid, *edges in zip(*[iter(words)] * 5):
        if wnid not in wnids:
            raise malformed(path, f"{line} names {wnid!r}, which is no class of ILSVRC2012")
        marked.append(Marked(wnid, box_of(edges, path, line)))
    return marked


def box_of(edges: Iterable[str | None], path: str, where: str) -> Box:
    """Four numbers of a file.

    Raises:
        ValueError: When they are none.
    """
    try:
        box = tuple(map(float, edges))
    except (TypeError, ValueError):
        box = ()
    if len(box) != 4 or not all(map(math.isfinite, box)):
        raise malformed(path, f"{where} has a box that is not xmin, ymin, xmax and ymax in pixels")
    return box


def _read_list(path: str, root: str, places: list[str], wnids: Collection[str]) -> dict[str, str]:
    """One line per image, in the order of the images' numbers: a WordNet id, or a number that ``meta.mat`` explains."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = file.read().split()
    except UnicodeDecodeError as error:
        raise malformed(path, f"it is no text ({error})") from error
    if not lines:
        raise malformed(path, "it is empty")
    classes: Collection[str] = wnids
    if lines[0].isdecimal():
        meta = first_of(root, [os.path.dirname(path), *places], META)
        if meta is None:
            raise MissingFileError(
                f"{path} numbers the classes in an order of its own, which {META} of the development kit "
                "(ILSVRC2012_devkit_t12/data) explains: put it beside that file."
            )
        classes = _read_meta(meta, wnids)
    if wrong := next((number for number, line in enumerate(lines, 1) if line not in classes), None):
        raise malformed(path, f"line {wrong} is {lines[wrong - 1]!r}, which is no class of ILSVRC2012")
    labels = [classes[line] for line in lines] if isinstance(classes, dict) else lines
    return {f"ILSVRC2012_val_{number:08d}": wnid for number, wnid in enumerate(labels, 1)}


def _read_meta(path: str, wnids: Collection[str]) -> dict[str, str]:
    """``ILSVRC2012_ID`` -> WordNet id of the 1000 classes that have no classes below them."""
    done = subprocess.run([sys.executable, "-c", _READ_META, path], capture_output=True, text=True)
    try:
        content = json.loads(done.stdout)
    except ValueError as error:
        why = (done.stderr.strip().splitlines() or ["its reader crashed"])[-1]
        raise malformed(path, f"it should hold the synsets of the development kit ({why})") from error
    if sorted(content.values()) != sorted(wnids) or {*content} != {str(number) for number in range(1, len(wnids) + 1)}:
        raise malformed(path, f"it should number the {len(wnids)} classes of ILSVRC2012 from 1")
    return content
