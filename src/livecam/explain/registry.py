"""Explainers by name, for the command line and for configurations that list methods as words."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from functools import partial
from typing import Annotated, Any

from livecam.core.errors import MethodNotFoundError, OptionError
from livecam.core.validation import check_known, make, options_of, split_word, suggest
from livecam.explain.explainer import Explainer

PRESETS: dict[str, Callable[[], list[Explainer]]] = {}
"""Lists of explainers by name; a new one is entered here."""


def explainer_classes() -> dict[str, type[Explainer]]:
    """Every explainer class that is ready to use, by method name; classes made by users are found too."""
    classes = (cls for cls in Explainer.classes if "method" in vars(cls) and not inspect.isabstract(cls))
    return dict(sorted((cls.method, cls) for cls in classes))


def wrappers() -> dict[str, Callable[..., Explainer]]:
    """What works upon another explainer, its first argument, by the prefix that its name puts before the base's."""
    return {prefix: factory for prefix, factory in _prefixed().items() if "base" in options_of(factory)}


def by_name(name: str) -> Explainer:
    """Build an explainer: ``gradcam``, ``rise(num_masks=1000)``, or a prefix and a word, ``gradual_gradcam``.

    Options go to the outermost method that has them, such as to AOP, then to its optimizer, then to its base in
    ``igos_gradcam(theta=0.5, n_steps=10, layer='layer3')``; those that are not written have their defaults.

    Raises:
        ValueError: When no method has that name, or none has such an option; the message gives near matches.
    """
    if not isinstance(name, str):
        raise OptionError(f"A method is an explainer such as GradCAM(), or a name such as 'gradcam', not {name!r}.")
    return _build(*split_word(name), name)


def as_explainer(option: str, method: Any) -> Explainer:
    """An explainer, given as one or by its name; a check of :mod:`livecam.core.options`."""
    return method if isinstance(method, Explainer) else by_name(method)


Base = Annotated[Explainer | str, as_explainer]
"""The method that another one works upon, or its name."""

# Arguments that are explainers themselves, in the order in which options are offered to them.
_PARTS = ("optimizer", "base")


def _build(name: str, options: dict[str, Any], written: str) -> Explainer:
    """Build the method of a name around those that it works with; options go to the first that has them."""
    factory, inner = _resolved(name)
    if factory is None:
        single = explainer_classes()
        names = [*single, *(prefix + base for prefix in wrappers() for base in single), *PRESETS]
        hint = suggest(name, names) or f" Methods: {', '.join([*single, *PRESETS])}."
        raise MethodNotFoundError(f"Unknown method {name!r}.{hint}")
    if name in explainer_classes():
        # Another part may be named in the place of the usual one; where the name says it, it is no option.
        inner |= {part: options.pop(part) for part in inner if isinstance(options.get(part), str)}
    arguments, others = _divided(options, [option for option in options_of(factory) if option not in inner])
    built = {}
    for part in (part for part in _PARTS if part in inner):
        word, mine = split_word(inner[part])
        more, others = _divided(others, _options(word))
        built[part] = _build(word, mine | more, written)
    option_names = [option for option in options_of(factory) if option not in inner]
    check_known(written, others, [*option_names, *(option for word in inner.values() for option in _options(word))])
    return make(partial(factory, **built) if built else factory, written, arguments)


def _resolved(name: str) -> tuple[Callable[..., Explainer] | None, dict[str, str]]:
    """What makes the method of a name, None where nothing does; and the words of the parts that it works with."""
    classes, upon = explainer_classes(), wrappers()
    if name in classes:
        return classes[name], {
            field.name: field.default
            for field in fields(classes[name])
            if field.name in _PARTS and isinstance(field.default, str)
        }
    prefixes = _prefixed()
    for prefix, factory in prefixes.items():
        word = name.removeprefix(prefix)
        if word == name:
            continue
        if prefix not in upon:
            return partial(factory, word), {}
        if word in classes or word.startswith(tuple(prefixes)):
            optimizer = {"optimizer": factory.keywords["optimizer"]} if isinstance(factory, partial) else {}
            return factory, optimizer | {"base": word}
    return None, {}


def _options(word: str) -> list[str]:
    """Options of the method that a word names, its parts' among them; none where there is no such method."""
    factory, inner = _resolved(split_word(word)[0])
    names = [option for option in options_of(factory) if option not in inner] if factory else []
    return [*names, *(option for part in inner.values() for option in _options(part))]


def _divided(options: dict[str, Any], names: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options that are known, and the others."""
    matches = {option: value for option, value in options.items() if option in names}
    return matches, {option: value for option, value in options.items() if option not in names}


def by_names(names: Iterable[str | Explainer]) -> list[Explainer]:
    """Build explainers from names of methods and of presets, in order; explainers among them stay as they are.

    Raises:
        ValueError: When a name is unknown, or this is no list.
    """
    if isinstance(names, str | Explainer):
        raise OptionError(f"Methods come as a list, such as [{names!r}].")
    built: list[Explainer] = []
    for name in names:
        if isinstance(name, Explainer):
            built.append(name)
        else:
            preset = PRESETS.get(name) if isinstance(name, str) else None
            built += preset() if preset else [by_name(name)]
    return built


def _prefixed() -> dict[str, Callable[..., Explainer]]:
    """Everything whose name is a prefix and a word: another method's, or one that the class looks up."""
    return dict(sorted((prefix, factory) for cls in Explainer.classes for prefix, factory in cls.prefixes().items()))
