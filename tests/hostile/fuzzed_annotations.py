"""Mutated annotation files and configurations, and what reading them comes to."""

import json
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from mutations import mutated, revalued
from PIL import Image

from livecam.core.safe_yaml import load_yaml
from livecam.data import AnnotatedPhotos, Coco, DogsVsWolves, OxfordPets
from livecam.data.imagenet.boxes import read_xml
from livecam.data.imagenet.labels import find_labels, read_solution

_WNIDS = ("n01440764", "n01443537", "n15075141")
_XML = """<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY wolf "n01440764">]><annotation><size><width>24</width>
<height>16</height><depth>3</depth></size><object><name>&wolf;</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax>
<ymax>8</ymax></bndbox></object></annotation>"""
_YAML = "data: &d\n  root: here\n  boxes: [1, {x: 2}]\nmodel: *d\ntrainer: {max_epochs: 3, callbacks: [*d, null]}\n"


def read_all(folder: Path, count: int, seed: int) -> Counter[str]:
    """Read mutated annotations: how many were ``read`` and how many ``refused``, by kind of file.

    Raises:
        AssertionError: When the outcome is neither data nor one sentence.
    """
    readers = _readers(folder)
    contents = [path.read_bytes() for path, _ in readers]
    values = {
        which: revalued(content.decode(), count, seed)
        for which, content in enumerate(contents)
        if readers[which][0].suffix == ".json"
    }
    told: Counter[str] = Counter()
    for number, (which, damaged) in enumerate(mutated(contents, count, seed)):
        path, read = readers[which]
        if which in values and number % 3:
            damaged = next(values[which]).encode()
        path.write_bytes(damaged)
        try:
            with warnings.catch_warnings(action="ignore"):
                read()
        except (ValueError, FileNotFoundError, yaml.YAMLError) as error:
            sentence = str(error)
            named = str(folder) in sentence or sentence.startswith("Class ")
            assert isinstance(error, yaml.YAMLError) or named, sentence
            assert len(sentence) < 5000, sentence
            told[f"{path.suffix} refused"] += 1
        else:
            told[f"{path.suffix} read"] += 1
        path.write_bytes(contents[which])
    return told


def _readers(folder: Path) -> list[tuple[Path, Callable[[], Any]]]:
    """Files that were written into a folder, and what reads each."""
    for name in ("annotated/a.jpg", "dogs_vs_wolves/dogs/a.jpg", "dogs_vs_wolves/dogs/b.jpg", "coco/val2017/a.jpg",
                 "dogs_vs_wolves/wolves/a.jpg", "dogs_vs_wolves/wolves/b.jpg"):  # fmt: skip
        _photo(folder / name)
    lines = []
    for number in range(1, 4):
        for label, breed in enumerate(("Beagle", "Pug"), 1):
            _photo(folder / f"pets/images/{breed}_{number}.jpg")
            lines.append(f"{breed}_{number} {label} 2 1\n")
    entry = {"label": 1, "name": "wolf", "boxes": [[1, 2, 9, 8.5]], "width": 24, "height": 16}
    region = [[1, 1, 9, 1, 9, 9, 1, 9]]
    instances = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 24, "height": 16}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "segmentation": region},
            {"id": 2, "image_id": 7, "category_id": 5, "segmentation": {"size": [16, 24], "counts": [50, 9, 325]}},
        ],
        "categories": [{"id": 3, "name": "dog"}, {"id": 5, "name": "wolf"}],
    }
    kit = folder / "kit"
    texts = {
        "annotated/annotations.json": json.dumps({"a.jpg": entry}),
        "dogs_vs_wolves/annotations.json": json.dumps({"dogs/a.jpg": entry}),
        "dogs_vs_wolves/near_duplicates.json": json.dumps([["dogs/a.jpg", "dogs/b.jpg", 0.9]]),
        "coco/instances_val2017.json": json.dumps(instances),
        "pets/annotations/trainval.txt": "".join(lines),
        "pets/annotations/test.txt": "Pug_9 2 2 1\n",
        "kit/imagenet_2012_validation_synset_labels.txt": "\n".join(_WNIDS),
        "solution.csv": f"ImageId,PredictionString\na,{_WNIDS[0]} 1 2 9 8 \nb,{_WNIDS[1]} 0 0 5 5 \n",
        "a.xml": _XML,
        "fit_config.yaml": _YAML,
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    def build(kind: type, name: str, **settings: Any) -> Callable[[], Any]:
        return lambda: _look_at(kind(str(folder / name), num_workers=0, image_size=16, **settings))

    pets = build(OxfordPets, "pets", allow_incomplete=True)
    wolves = build(DogsVsWolves, "dogs_vs_wolves", val_fraction=0.5)
    readers = {
        "annotated/annotations.json": build(AnnotatedPhotos, "annotated"),
        "dogs_vs_wolves/annotations.json": wolves,
        "coco/instances_val2017.json": build(Coco, "coco", allow_incomplete=True),
        "pets/annotations/trainval.txt": pets,
        "kit/imagenet_2012_validation_synset_labels.txt": lambda: find_labels(str(kit), [str(kit)], _WNIDS),
        "solution.csv": lambda: read_solution(str(folder / "solution.csv"), _WNIDS),
        "a.xml": lambda: read_xml(str(folder / "a.xml")),
        "fit_config.yaml": lambda: load_yaml((folder / "fit_config.yaml").read_text("utf-8", "replace")),
    }
    return [(folder / name, read) for name, read in readers.items()]


def _look_at(data: Any) -> None:
    """Read the first validation photo with whatever marks it."""
    assert torch.isfinite(data.sets["val"][0]["image"]).all()


def _photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 16), "gray").save(path)
