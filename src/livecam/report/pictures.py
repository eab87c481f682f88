"""PNG files of pictures."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from livecam.core.files import write_atomically


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write a picture in one step.

    Args:
        path: File; its folder is there.
        picture: uint8 array ``(H, W, 3)``.
    """
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG")
    write_atomically(path, content.getvalue())
