"""A tiny COCO in a folder: what its tests share."""

import json

import numpy as np
from PIL import Image

CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]


def polygon(left, top, right, bottom):
    """Of the pixels in columns left to right - 1 and rows top to bottom - 1."""
    return [left, top, right, top, right, bottom, left, bottom]


def run_lengths(mask):
    """COCO's uncompressed code of a mask: lengths of runs of 0 and 1 in turn, down the columns, by plain counting."""
    counts, value = [0], 0
    for pixel in np.asarray(mask, int).T.flatten().tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return {"size": list(mask.shape), "counts": counts}


def box_mask(left, top, right, bottom, size=(30, 20)):
    mask = np.zeros((size[1], size[0]), bool)
    mask[top:bottom, left:right] = True
    return mask


def plant(root, images, annotations, part="val2017", size=(30, 20), categories=CATEGORIES, folder=None, seed=0):
    """``annotations`` are (image, category id, segmentation) or dicts; returns the file of instances."""
    place = root / (folder or part or "images")
    place.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed)
    for name in images:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 255, (size[1], size[0], 3), np.uint8)).save(place / name)
    number = {name: 10 * i + 7 for i, name in enumerate(images)}
    listed = [{"id": number[name], "file_name": name, "width": size[0], "height": size[1]} for name in images]
    entries = [
        given
        if isinstance(given, dict)
        else {"id": i, "image_id": number.get(given[0], given[0]), "category_id": given[1], "segmentation": given[2]}
        for i, given in enumerate(annotations)
    ]
    path = root / ("annotations" if part else "") / (f"instances_{part}.json" if part else "instances.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"images": listed, "annotations": entries, "categories": categories}))
    return path
