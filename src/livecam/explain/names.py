"""Explainers by name, for the command line and for configurations that list methods as words."""

import inspect
from collections.abc import Iterable
from difflib import get_close_matches

from livecam.explain.explainer import Explainer
from livecam.explain.presets import PRESETS


def methods() -> dict[str, type[Explainer]]:
    """Every explainer class that is ready to use, by method name; classes made by users are found too."""
    return dict(sorted((cls.method, cls) for cls in _classes() if "method" in vars(cls)))


def wrappers() -> dict[str, type[Explainer]]:
    """Every explainer class that works upon another explainer, by the prefix that its name puts before the base's."""
    return dict(sorted((cls.prefix, cls) for cls in _classes() if "prefix" in vars(cls)))


def by_name(name: str) -> Explainer:
    """Build an explainer with its defaults from its name, such as ``gradcam`` or ``gradual_gradcam``.

    Raises:
        ValueError: When no method has that name; the message gives near matches.
    """
    if not isinstance(name, str):
        raise ValueError(f"A method is an explainer such as GradCAM(), or a name such as 'gradcam', not {name!r}.")
    known = methods()
    if name in known:
        return known[name]()
    prefixes = wrappers()
    for prefix, wrapper in prefixes.items():
        base = name.removeprefix(prefix)
        if base != name and (base in known or base.startswith(tuple(prefixes))):
            return wrapper(by_name(base))
    close = get_close_matches(name, [*known, *(prefix + base for prefix in prefixes for base in known), *PRESETS], 3)
    hint = f"Did you mean {' or '.join(close)}?" if close else f"Methods: {', '.join([*known, *PRESETS])}."
    raise ValueError(f"Unknown method {name!r}. {hint}")


def by_names(names: Iterable[str | Explainer]) -> list[Explainer]:
    """Build explainers from names of methods and of presets, in order; explainers among them stay as they are.

    Raises:
        ValueError: When a name is unknown, or this is no list.
    """
    if isinstance(names, str | Explainer):
        raise ValueError(f"Methods come as a list, such as [{names!r}].")
    built: list[Explainer] = []
    for name in names:
        if isinstance(name, Explainer):
            built.append(name)
        else:
            preset = PRESETS.get(name) if isinstance(name, str) else None
            built += preset() if preset else [by_name(name)]
    return built


def _classes() -> Iterable[type[Explainer]]:
    waiting: list[type[Explainer]] = [Explainer]
    while waiting:
        parent = waiting.pop()
        waiting += parent.__subclasses__()
        if not inspect.isabstract(parent):
            yield parent
