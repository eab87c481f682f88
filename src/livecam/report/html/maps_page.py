"""The page of ``explain.py maps``: one strip per photo, opens from disk."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from livecam.core.files import write_atomically

_HERE = Path(__file__).parent


@dataclass
class Picture:
    """A picture beside a file.

    Args:
        path: Relative to the page.
        width: In pixels.
        height: In pixels.
        words: What it shows.
    """

    path: str
    width: int
    height: int
    words: str


@dataclass
class Entry:
    """One photo on the page.

    Args:
        picture: Path of its strip, relative to the page.
        width: Width of the strip in pixels.
        height: Height of the strip in pixels.
        caption: What was predicted and explained.
        source: Where the photo came from.
        further: Pictures below the strip.
    """

    picture: str
    width: int
    height: int
    caption: str
    source: str
    further: list[Picture] = field(default_factory=list)


def write_maps_page(path: Path, title: str, subtitle: str, entries: Sequence[Entry]) -> None:
    """Write the page; all text is escaped."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_HERE), autoescape=True, trim_blocks=True)
    style = Markup((_HERE / "page.css").read_text("utf-8"))
    page = environment.get_template("maps.html").render(title=title, subtitle=subtitle, entries=entries, style=style)
    write_atomically(path, page.encode("utf-8", "replace"))
