"""Files and names that mean harm, made by hand; importable by the tests beside it."""

import os
import pickle
import struct
import zlib
from pathlib import Path

from PIL import Image

MARKUP = "<img src=x onerror=\"document.title='owned'\"> [red]'|`${1}`[-] & \\"
NAMES = {
    "markup": MARKUP.replace("/", ""),
    "line end": "a\nb, line 2",
    "escape codes": "\x1b[2J\x1b]0;owned\x07\x9b31m",
    "right to left": "a\u202egpj.exe",
    "undecodable": "a\udcff\udc80",
    "table": "a|b|`c`",
    "leading dash": "-rf",
    "dots": "a..",
    "other script": "狼 \u200d ünï",
}
"""File and folder names that every file system here takes."""


def is_harmless(text: str) -> bool:
    """Whether a terminal takes a text for letters and line ends alone."""
    return all(letter.isprintable() or letter in "\n\u200d\u3000" for letter in text)


def png(width: int, height: int, lines: int = 0) -> bytes:
    """An RGB PNG that claims a size and holds some black lines of it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1 + 3 * width) * lines, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def photo(path: Path, size: tuple[int, int] = (20, 16), shade: int = 120) -> Path:
    """An honest photo."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 90, 60)).save(path, "PNG")
    return path


class Malice:
    """Unpickling it makes a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def by_hand(trace: Path) -> bytes:
    """The same in the oldest protocol, as an attacker writes it: no class of ours is needed."""
    return b"cos\nmkdir\n(V" + str(trace).encode() + b"\ntR."


def is_armed(content: bytes, trace: Path) -> bool:
    """Whether plain unpickling would run it; leaves no trace."""
    pickle.loads(content)
    if not trace.is_dir():
        return False
    trace.rmdir()
    return True
