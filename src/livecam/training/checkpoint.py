"""Classifiers out of checkpoints, without running any code that a file may carry, or believing its settings."""

import inspect
import math
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from livecam.core.text import printable
from livecam.models.bounds import Bounded
from livecam.models.weights import is_state, load_state, read_plain
from livecam.training.classifier import Classifier

# Values in arguments of networks. Lists that hold one list several times can stand for more than memory holds.
_MOST_VALUES = 10_000


def load_classifier(path: str | Path) -> Classifier:
    """Load a trained classifier in eval mode on the CPU.

    Args:
        path: A Lightning checkpoint written while training a :class:`Classifier`.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When the file is no checkpoint of a livecam classifier, or its weights do not fit it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No checkpoint at {path}: training writes them to runs/<name>/checkpoints/.")
    try:
        content: Any = read_plain(path)
    # Damaged files raise whatever pickle, zipfile or torch happen to trip over.
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint (it is damaged, or carries code, which is never run)."
        ) from error
    settings, state = (
        content.get(key) if isinstance(content, Mapping) else None for key in ("hyper_parameters", "state_dict")
    )
    if not isinstance(settings, Mapping) or "model" not in settings or not is_state(state):
        raise ValueError(f"{path} holds no classifier: pass a .ckpt file of train.py, or --model with --weights FILE.")
    # Counted by the file: a tensor may claim any size and repeat one number.
    numbers = path.stat().st_size // 2
    try:
        known = _checked(settings)
        with Bounded(numbers, len(state)):
            classifier = Classifier(**known)
    # Settings that no training wrote raise whatever a network happens to trip over.
    except Exception as error:
        why = printable(str(error)) or type(error).__name__
        raise ValueError(f"The classifier in {path} cannot be built: {why[:500].rstrip('.')}.") from error
    load_state(classifier, dict(state), set(), str(path), settings["model"])
    return classifier.eval()


def _checked(given: Mapping[Any, Any]) -> dict[str, Any]:
    """Those settings that a classifier has, of the types that it takes.

    Raises:
        ValueError: Names the one that is of another type.
    """
    hints = typing.get_type_hints(Classifier.__init__)
    settings = {key: given[key] for key in inspect.signature(Classifier).parameters if key in given}
    for key, value in settings.items():
        if not _fits(value, hints[key]):
            raise ValueError(f"its {key} is not of the kind that training writes")
    if settings.get("class_names"):
        settings["class_names"] = [printable(str(name)) for name in settings["class_names"]]
    # The checkpoint brings its weights; those that training started from may be gone.
    return settings | {"weights": None}


def _fits(value: Any, hint: Any) -> bool:
    options, kind = typing.get_args(hint), typing.get_origin(hint)
    if kind is Sequence:
        # Names of classes may be numbers: they become words.
        each = (str, int, float) if options == (str,) else (int, float)
        return isinstance(value, list | tuple) and all(isinstance(part, each) for part in value)
    if kind is dict:
        return isinstance(value, dict) and all(isinstance(key, str) for key in value) and _count(value) <= _MOST_VALUES
    if options:
        return any(_fits(value, option) for option in options)
    if hint is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, hint)


def _count(value: Any, room: int = _MOST_VALUES) -> int:
    """How many values something holds; more than ``room`` where they are too many, or no plain ones."""
    if isinstance(value, dict):
        return _count([*value, *value.values()], room)
    if not isinstance(value, list | tuple):
        return 1 if isinstance(value, str | int | float | None) else room + 1
    counted = 1
    for part in value:
        if counted > room:
            break
        counted += _count(part, room - counted)
    return counted
