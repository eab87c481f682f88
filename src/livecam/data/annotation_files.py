"""Files beside photos that say what is in them: JSON with boxes, read with one sentence for whatever is wrong."""

import json
import os
from typing import Any

from livecam.core.errors import DataError
from livecam.data.folder import check_inside
from livecam.data.photo_dataset import Box

# No image is so large; whole numbers in JSON may be larger than any float.
_FAR = 1e9


def read_json(path: str, root: str, default: Any) -> Any:
    """What a JSON file below ``root`` holds, or ``default`` where there is no such file.

    Raises:
        ValueError: When the file is no JSON, or a link takes it out of the root.
    """
    if not os.path.exists(path):
        return default
    check_inside(path, root)
    if not os.path.isfile(path):
        raise malformed(path, "it is no file")
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (ValueError, RecursionError) as error:
        raise malformed(path, f"it is not JSON ({error})") from error


def malformed(path: str, why: str) -> DataError:
    """The error that says what is wrong with a file."""
    return DataError(f"{path} is malformed: {why}; correct or remove the file.")


def boxes_of(entry: dict[str, Any], path: str, name: str) -> tuple[Box, ...] | None:
    """The ``boxes`` of one image's entry; None where it has none, and so is not annotated.

    Raises:
        ValueError: When they are no boxes ``[x1, y1, x2, y2]``.
    """
    boxes = entry.get("boxes") or ()
    if not isinstance(boxes, list | tuple) or not all(_is_box(box) for box in boxes):
        raise malformed(path, f"each box of {name!r} should be [x1, y1, x2, y2] with x1 < x2 and y1 < y2, in pixels")
    return tuple(tuple(map(float, box)) for box in boxes) or None


def _is_box(box: Any) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        # Compared, which is false of NaN and asks no number to become another.
        and all(isinstance(edge, int | float) and abs(edge) < _FAR for edge in box)
        and box[0] < box[2]
        and box[1] < box[3]
    )


def size_of(entry: dict[str, Any], path: str, name: str) -> tuple[int, int] | None:
    """``(width, height)`` of one image's entry; None where it does not say.

    Raises:
        ValueError: When they are no whole numbers.
    """
    size = entry.get("width"), entry.get("height")
    if size == (None, None):
        return None
    if not all(type(side) is int and 0 < side < _FAR for side in size):
        raise malformed(path, f"width and height of {name!r} should both be whole numbers of pixels")
    return size
