"""Reading photos from disk: any common mode becomes upright RGB; whatever cannot be read fails in one way."""

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

SUFFIXES = (".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# Named, because Pillow goes by content: a PostScript file called x.jpg would start an interpreter.
_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImageError(ValueError):
    """A photo that cannot be read; the message names the file and the reason."""


def read_image(path: str | Path) -> Image.Image:
    """Read a photo as upright RGB.

    Grey and 16-bit grey are scaled to 8 bits, palettes and CMYK converted, transparency is laid on white, and the
    camera's orientation (EXIF) is applied.

    Raises:
        UnreadableImageError: When the file is missing, empty, cut off, corrupt, too large to be an honest photo
            (Pillow's protection against decompression bombs) or of a mode without an agreed meaning.
    """
    return upright(*read_stored(path))


def read_stored(path: str | Path) -> tuple[Image.Image, int]:
    """Read a photo as RGB with its pixels where the file stores them.

    Boxes and masks in pixels of the stored file are drawn at this size; :func:`upright` then turns both alike.

    Returns:
        The picture and its EXIF orientation, 1 to 8 (1: upright already).

    Raises:
        UnreadableImageError: As :func:`read_image`.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            image.load()
            return _to_rgb(image), _orientation(image)
    except Exception as error:  # Pillow's decoders raise over a dozen types on corrupt data.
        raise UnreadableImageError(f"Cannot read the image {path}: {_reason(error)}.") from error


def upright(picture: Image.Image, orientation: int) -> Image.Image:
    """Turn a picture, or a mask of the same size, as an EXIF orientation says."""
    method = _UPRIGHT.get(orientation)
    return picture if method is None else picture.transpose(method)


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
        raise ValueError("floating-point pixels have no agreed range, convert them to 8 or 16 bits")
    if image.mode.startswith("I"):
        # Pillow would clip at 255. Mode I is how it returns some 16-bit files.
        levels = np.asarray(image).astype(np.float64).clip(0, 65535) / 257
        return Image.fromarray(levels.round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")
