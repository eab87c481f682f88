"""Pages from the templates beside this file; all text is escaped."""

from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


def read(name: str) -> str:
    """A file beside this one."""
    return (_HERE / name).read_text("utf-8")


def render(template: str, **values: Any) -> bytes:
    """Render a template; ``style`` is the style of all pages.

    Args:
        template: A file beside this one.
        values: What it shows.
    """
    import jinja2
    from markupsafe import Markup

    loader = jinja2.FileSystemLoader(_HERE)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.get_template(template).render(style=Markup(read("page.css")), **values)
    return page.encode("utf-8", "replace")
