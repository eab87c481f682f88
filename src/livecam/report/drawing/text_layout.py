"""Letters in pictures: one typeface, two tones, and texts that stay inside their place."""

from dataclasses import dataclass, field
from functools import lru_cache

from PIL import ImageDraw, ImageFont

INK, FAINT = (28, 32, 38), (104, 112, 122)
"""Colors of what is read first, and of remarks."""


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


Color = tuple[int, int, int]


@dataclass
class TextBlock:
    """Lines below each other; blocks add up to longer ones.

    Args:
        lines: What each says, the height of its letters in pixels, and its color (RGB, 0 to 255).
    """

    lines: list[tuple[str, int, Color]] = field(default_factory=list)

    def __add__(self, other: "TextBlock") -> "TextBlock":
        return TextBlock(self.lines + other.lines)

    @property
    def height(self) -> int:
        """Pixels that they take."""
        return sum(size + 4 for _, size, _ in self.lines)

    @property
    def width(self) -> int:
        """Pixels that the longest line takes."""
        return max((width_of(text, size) for text, size, _ in self.lines), default=0)

    def draw(self, canvas: ImageDraw.ImageDraw, x: float, y: float, anchor: str = "lm") -> None:
        """Draw them with their top at ``y``; ``anchor`` says how they stand to ``x``, in Pillow's words."""
        for text, size, color in self.lines:
            canvas.text((x, y + (size + 4) / 2), text, color, font(size), anchor=anchor)
            y += size + 4


def block(text: str, width: int, size: int, color: Color) -> TextBlock:
    """A text in lines of at most ``width`` pixels, as :func:`wrap` breaks them."""
    return TextBlock([(line, size, color) for line in wrap(text, width, size)])
