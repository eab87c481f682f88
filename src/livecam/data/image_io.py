"""Reading photos from disk: any common mode becomes upright RGB; whatever cannot be read fails in one way."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import functional as F

from livecam.core.errors import DataError
from livecam.core.text import printable

SUFFIXES = (".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# Named, because Pillow goes by content: a PostScript file called x.jpg would start an interpreter.
_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_NO_FILE = "it is a pipe or a device, not a file"
# What a viewer does with the stored pixels (..., rows, columns) of each EXIF orientation.
_UPRIGHT: dict[int, Callable[[Tensor], Tensor]] = {
    2: lambda pixels: pixels.flip(-1),
    3: lambda pixels: pixels.flip(-2, -1),
    4: lambda pixels: pixels.flip(-2),
    5: lambda pixels: pixels.mT,
    6: lambda pixels: pixels.rot90(-1, (-2, -1)),
    7: lambda pixels: pixels.mT.flip(-2, -1),
    8: lambda pixels: pixels.rot90(1, (-2, -1)),
}


def is_hidden(name: str) -> bool:
    """Whether data sets and commands leave out a file or folder of this name: ``.cache``, ``._photo.jpg``."""
    return name.startswith(".")


def has_image_suffix(name: str) -> bool:
    """Whether a file of this name is read as a photo, by its suffix in any case."""
    return name.lower().endswith(SUFFIXES)


class UnreadableImageError(DataError):
    """A photo that cannot be read; the message names the file and the reason."""


def read_image(path: str | Path) -> Image.Image:
    """Read a photo as upright RGB.

    Gray and 16-bit gray are scaled to 8 bits, palettes and CMYK converted, transparency is laid on white, and the
    camera's orientation (EXIF) is applied.

    Raises:
        UnreadableImageError: When the file is missing, empty, cut off, corrupt, too large to be an honest photo
            (Pillow's protection against decompression bombs) or of a mode without an agreed meaning.
    """
    return F.to_pil_image(upright(*read_stored(path)))


def read_stored(path: str | Path) -> tuple[Tensor, int]:
    """Read a photo as RGB with its pixels where the file stores them.

    Boxes and masks in pixels of the stored file are drawn at this size; :func:`upright` then turns both alike.

    Returns:
        The pixels, uint8 ``(3, height, width)``, and the EXIF orientation, 1 to 8 (1: upright already).

    Raises:
        UnreadableImageError: As :func:`read_image`.
    """
    try:
        with opened(path) as (file, image):
            pixels = _plain_jpeg(image, file)
            if pixels is None:
                image.load()
                pixels = F.pil_to_tensor(_to_rgb(image))
            return pixels, _orientation(image)
    except Exception as error:  # Pillow's decoders raise over a dozen types on corrupt data.
        raise UnreadableImageError(f"Cannot read the image {printable(f'{path}: {_reason(error)}')}.") from error


@contextmanager
def opened(path: str | Path, formats: tuple[str, ...] = _FORMATS) -> Iterator[tuple[BinaryIO, Image.Image]]:
    """Open a photo, which reads its header: the format is known by content, and the size refused, before any decoder.

    Raises:
        Exception: Of the many types that Pillow raises.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        # A device would be read without end.
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise DataError(_NO_FILE)
        with Image.open(file, formats=formats) as image:
            yield file, image


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe, into which nobody may ever write, at once."""
    try:
        return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        # What sockets say.
        if error.errno == errno.ENXIO:
            raise DataError(_NO_FILE) from error
        raise


def _plain_jpeg(image: Image.Image, file: BinaryIO) -> Tensor | None:
    """Pixels of a color or gray JPEG by torchvision's decoder: Pillow's own, in about 0.6 of the time.

    Returns:
        None for other files, and for those that it refuses: Pillow reads them, or says what is wrong.
    """
    if image.format not in ("JPEG", "MPO") or image.mode not in ("RGB", "L"):
        return None
    file.seek(0)
    try:
        pixels = decode_jpeg(torch.frombuffer(bytearray(file.read()), dtype=torch.uint8), mode=ImageReadMode.RGB)
    except RuntimeError:
        return None
    return pixels if pixels.shape[1:] == image.size[::-1] else None


def upright(pixels: Tensor, orientation: int) -> Tensor:
    """Turn a picture, or masks of the same size, ``(..., height, width)`` as an EXIF orientation says."""
    return _UPRIGHT[orientation](pixels) if orientation in _UPRIGHT else pixels


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "it holds no known image format"
    # strerror leaves out the path, which the sentence has already.
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Broken metadata says nothing about the pixels, which have been decoded by now.
        return 1
    return value if value in _UPRIGHT else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise DataError("floating-point pixels have no agreed range, convert them to 8 or 16 bits")
    if image.mode.startswith("I"):
        # Pillow would clip at 255. Mode I is how it returns some 16-bit files.
        levels = np.asarray(image).astype(np.float64).clip(0, 65535) / 257
        return Image.fromarray(levels.round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")
