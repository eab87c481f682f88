"""How long data sets of full size take to be listed, and in how much memory: ImageNet and COCO, of empty files.

uv run python benchmarks/listing.py [--folder FOLDER]

Makes 1 455 000 files below FOLDER (a temporary one by default), lists each data set in a process of its own, and
removes them.
"""

import argparse
import json
import math
import multiprocessing
import random
import tempfile
import time
from pathlib import Path
from xml.sax.saxutils import escape

import torchvision
from conditions import conditions

from livecam.data import Coco, ImageNet
from livecam.data.imagenet.datamodule import TRAIN, VAL
from livecam.data.imagenet.labels import ilsvrc_classes

# Images and annotations of COCO's 2017 files.
PARTS = {"train2017": (118_287, 860_001), "val2017": (5_000, 36_781)}


def plant_imagenet(root: Path) -> None:
    """Class folders for training, a flat val/ with Kaggle's CSV, and an XML file with a box for each of its images."""
    wnids = list(ilsvrc_classes())
    for number, wnid in enumerate(wnids):
        folder = root / "train" / wnid
        folder.mkdir(parents=True)
        for image in range(TRAIN // 1000 + (number < TRAIN % 1000)):
            (folder / f"{wnid}_{image}.JPEG").touch()
    (root / "val").mkdir()
    (root / "Annotations" / "val").mkdir(parents=True)
    edges, rows = ("xmin", "ymin", "xmax", "ymax"), ["ImageId,PredictionString"]
    for image in range(1, VAL + 1):
        name, wnid, box = f"ILSVRC2012_val_{image:08}", wnids[image % 1000], (10, 20, 300, 280)
        (root / "val" / f"{name}.JPEG").touch()
        rows.append(f"{name},{wnid} {' '.join(map(str, box))}")
        bounds = "".join(f"<{edge}>{at}</{edge}>" for edge, at in zip(edges, box))
        (root / "Annotations" / "val" / f"{name}.xml").write_text(
            f"<annotation><filename>{escape(name)}</filename><size><width>500</width><height>375</height></size>"
            f"<object><name>{wnid}</name><bndbox>{bounds}</bndbox></object></annotation>"
        )
    (root / "LOC_val_solution.csv").write_text("\n".join(rows))


def plant_coco(root: Path) -> None:
    """Two files of instances whose polygons have twenty corners."""
    draw = random.Random(0)
    (root / "annotations").mkdir(parents=True)
    for part, (images, annotations) in PARTS.items():
        (root / part).mkdir()
        listed = [{"id": i, "file_name": f"{i:012}.jpg", "width": 640, "height": 480} for i in range(images)]
        for image in listed:
            (root / part / image["file_name"]).touch()
        entries = []
        for number in range(annotations):
            x, y, w, h = 400 * draw.random(), 300 * draw.random(), 20 + 200 * draw.random(), 20 + 150 * draw.random()
            turns = [2 * math.pi * corner / 20 for corner in range(20)]
            corners = [(x + w / 2 * (1 + math.cos(turn)), y + h / 2 * (1 + math.sin(turn))) for turn in turns]
            polygon = [round(at, 2) for corner in corners for at in corner]
            entry = {"id": number, "image_id": draw.randrange(images), "category_id": draw.randrange(1, 81)}
            entries.append(entry | {"segmentation": [polygon], "area": w * h, "bbox": [x, y, w, h], "iscrowd": 0})
        categories = [{"id": i + 1, "name": f"category {i}"} for i in range(80)]
        content = {"images": listed, "annotations": entries, "categories": categories}
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))


def peak_memory() -> int:
    """Most memory of this process so far, in KiB (Linux; ``getrusage`` hands down the peak of the parent)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def measure(name: str, kind: type, root: str, **arguments: str) -> None:
    """List a data set and print the cost."""
    before, start = peak_memory(), time.perf_counter()
    data = kind(root, num_workers=0, **arguments)
    spent, peak = time.perf_counter() - start, peak_memory() - before
    kept = {part: photos.photos.nbytes / 2**20 for part, photos in data.sets.items()}
    told = ", ".join(f"{part} {len(data.sets[part])} in {size:.1f} MiB" for part, size in kept.items())
    print(f"{name:28} {spent:6.1f} s, at most {peak / 2**20:.2f} GiB more; {told}", flush=True)


def main() -> None:
    """Plant, measure, remove."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder")
    print(conditions(torchvision))
    with tempfile.TemporaryDirectory(dir=parser.parse_args().folder) as folder:
        imagenet, coco = Path(folder) / "imagenet", Path(folder) / "coco"
        plant_imagenet(imagenet)
        plant_coco(coco)
        runs = [
            ("ImageNet, boxes from XML", ImageNet, str(imagenet), {}),
            ("ImageNet, boxes from CSV", ImageNet, str(imagenet), {"boxes": "LOC_val_solution.csv"}),
            ("COCO", Coco, str(coco), {}),
        ]
        for name, kind, root, arguments in runs:
            process = multiprocessing.get_context("spawn").Process(
                target=measure, args=(name, kind, root), kwargs=arguments
            )
            process.start()
            process.join()


if __name__ == "__main__":
    main()
