"""Explainers by name, for the command line and for configurations that list methods as words."""

import inspect
from collections.abc import Iterable
from dataclasses import fields
from difflib import get_close_matches
from functools import partial
from typing import Any

# Not called here: a class is found by its name once its module is loaded.
import livecam.explain.captum  # noqa: F401
from livecam.explain.explainer import Explainer
from livecam.explain.presets import PRESETS
from livecam.options import make, split_word


def methods() -> dict[str, type[Explainer]]:
    """Every explainer class that is ready to use, by method name; classes made by users are found too."""
    return dict(sorted((cls.method, cls) for cls in _classes() if "method" in vars(cls)))


def wrappers() -> dict[str, type[Explainer]]:
    """Every explainer class that works upon another explainer, by the prefix that its name puts before the base's."""
    return {prefix: cls for prefix, cls in _prefixed().items() if "base" in {field.name for field in fields(cls)}}


def by_name(name: str) -> Explainer:
    """Build an explainer: ``gradcam``, ``rise(masks=1000)``, or a prefix and a word, ``gradual_gradcam``.

    Options go to the outermost method that has them; those that are not written have their defaults.

    Raises:
        ValueError: When no method has that name, or none has such an option; the message gives near matches.
    """
    if not isinstance(name, str):
        raise ValueError(f"A method is an explainer such as GradCAM(), or a name such as 'gradcam', not {name!r}.")
    return _build(*split_word(name), name)


def _build(name: str, options: dict[str, Any], written: str) -> Explainer:
    known = methods()
    if name in known:
        return make(known[name], written, options)
    prefixes, upon = _prefixed(), wrappers()
    for prefix, cls in prefixes.items():
        word = name.removeprefix(prefix)
        if word == name:
            continue
        if prefix not in upon:
            return make(partial(cls, word), written, options)
        if word in known or word.startswith(tuple(prefixes)):
            own = {option: value for option, value in options.items() if option in inspect.signature(cls).parameters}
            base = _build(word, {option: value for option, value in options.items() if option not in own}, written)
            return make(partial(cls, base), written, own)
    close = get_close_matches(name, [*known, *(prefix + base for prefix in upon for base in known), *PRESETS], 3)
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


def _prefixed() -> dict[str, type[Explainer]]:
    """Every explainer class whose name is a prefix and a word: another method's, or one that the class looks up."""
    return dict(sorted((cls.prefix, cls) for cls in _classes() if "prefix" in vars(cls)))


def _classes() -> Iterable[type[Explainer]]:
    waiting: list[type[Explainer]] = [Explainer]
    while waiting:
        parent = waiting.pop()
        waiting += parent.__subclasses__()
        if not inspect.isabstract(parent):
            yield parent
