"""Explainers by name, for the command line and for configurations that list methods as words."""

import inspect
from difflib import get_close_matches

from livecam.explain.explainer import Explainer


def methods() -> dict[str, type[Explainer]]:
    """Every explainer class that is ready to use, by method name; classes made by users are found too."""
    found: dict[str, type[Explainer]] = {}
    waiting = [Explainer]
    while waiting:
        parent = waiting.pop()
        waiting += parent.__subclasses__()
        if "method" in vars(parent) and not inspect.isabstract(parent):
            found[parent.method] = parent
    return dict(sorted(found.items()))


def by_name(name: str) -> Explainer:
    """Build an explainer with its defaults from its name, such as ``gradcam``.

    Raises:
        ValueError: When no method has that name; the message gives near matches.
    """
    known = methods()
    if name in known:
        return known[name]()
    close = get_close_matches(name, known, 3)
    hint = f"Did you mean {' or '.join(close)}?" if close else f"Methods: {', '.join(known)}."
    raise ValueError(f"Unknown method {name!r}. {hint}")
