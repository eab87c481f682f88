"""Mutated photos, and what reading them comes to."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
from mutations import mutated
from PIL import Image

from livecam.data.image_io import UnreadableImageError, read_image


def whole_photos() -> list[bytes]:
    """One small photo of every format that is read, some in several kinds."""
    noise = np.random.default_rng(0).integers(0, 255, (12, 17, 3), np.uint8)
    color = Image.fromarray(noise)
    deep = Image.fromarray(noise[:, :, 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[274] = 6
    clear = color.convert("RGBA")
    clear.putalpha(128)
    kinds = [
        (color, "JPEG", {"exif": exif}),
        (color, "JPEG", {"progressive": True, "icc_profile": bytes(200)}),
        (color.convert("L"), "JPEG", {}),
        (color.convert("CMYK"), "JPEG", {}),
        (color, "PNG", {"exif": exif}),
        (deep, "PNG", {}),
        (clear, "PNG", {}),
        (color.convert("P"), "PNG", {"transparency": 3}),
        (color.convert("P"), "GIF", {"save_all": True, "append_images": [color.rotate(90).convert("P")]}),
        (color, "BMP", {}),
        (color, "TIFF", {}),
        (color, "TIFF", {"compression": "tiff_lzw"}),
        (color.convert("1"), "TIFF", {"compression": "group4"}),
        (deep, "TIFF", {}),
        (color, "WEBP", {"exif": exif}),
        (clear, "WEBP", {"lossless": True}),
        (color, "JPEG2000", {}),
        (color, "PPM", {}),
    ]
    files = []
    for image, kind, options in kinds:
        content = io.BytesIO()
        image.save(content, kind, **options)
        files.append(content.getvalue())
    return files


def read_all(folder: Path, count: int, seed: int) -> Counter[str]:
    """Read mutated photos: how many were ``read`` and how many ``refused``.

    Raises:
        AssertionError: When the outcome is neither an RGB image nor one sentence that names the file.
    """
    told: Counter[str] = Counter()
    path = folder / "photo.jpg"
    for _, content in mutated(whole_photos(), count, seed):
        path.write_bytes(content)
        try:
            image = read_image(path)
        except UnreadableImageError as error:
            sentence = str(error)
            assert sentence.startswith(f"Cannot read the image {path}: "), sentence
            assert sentence.isprintable() and len(sentence) < 1000, sentence
            told["refused"] += 1
        else:
            assert image.mode == "RGB" and min(image.size) > 0
            told["read"] += 1
    return told
