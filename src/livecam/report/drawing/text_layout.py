"""Letters in pictures: one typeface, two tones, and texts that stay inside their place."""

from dataclasses import dataclass
from functools import lru_cache

from PIL import ImageDraw, ImageFont

INK, FAINT = (28, 32, 38), (104, 112, 122)
"""Colours of what is read first, and of remarks."""


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The typeface at a size in pixels."""
    return ImageFont.load_default(size)


def width_of(text: str, size: int) -> int:
    """Pixels that a line takes."""
    return round(font(size).getlength(text))


def fit(text: str, width: int, size: int) -> str:
    """One line of at most ``width`` pixels; a longer text ends in an ellipsis."""
    text = " ".join(text.split())
    if font(size).getlength(text) <= width:
        return text
    while text and font(size).getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def wrap(text: str, width: int, size: int) -> list[str]:
    """Lines of at most ``width`` pixels, broken at spaces; only a word wider than a line is broken inside."""
    lines: list[str] = []
    for word in text.split():
        if lines and font(size).getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
            continue
        while font(size).getlength(word) > width and len(word) > 1:
            count = next(n for n in range(len(word) - 1, 0, -1) if n == 1 or font(size).getlength(word[:n]) <= width)
            lines.append(word[:count])
            word = word[count:]
        lines.append(word)
    return lines


@dataclass
class Lines:
    """Lines of one style, drawn below each other.

    Args:
        lines: What they say.
        size: Height of the letters in pixels.
        colour: RGB, 0 to 255.
    """

    lines: list[str]
    size: int
    colour: tuple[int, int, int]

    @property
    def height(self) -> int:
        """Pixels that they take."""
        return len(self.lines) * (self.size + 4)

    def draw(self, canvas: ImageDraw.ImageDraw, x: float, y: float, anchor: str) -> None:
        """Draw them with their top at ``y``; ``anchor`` says how they stand to ``x``, in Pillow's words."""
        for number, line in enumerate(self.lines):
            canvas.text((x, y + (number + 0.5) * (self.size + 4)), line, self.colour, font(self.size), anchor=anchor)
