"""Classifiers out of checkpoints, without running any code that a file may carry, or believing its settings."""

import inspect
import math
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from livecam.core.errors import DataError, MissingFileError
from livecam.core.text import printable
from livecam.models.weights import is_state, load_state, read_plain
from livecam.training.classifier import Classifier

# Values in arguments of networks. Lists that hold one list several times can stand for more than memory holds.
_MOST_VALUES = 10_000


def load_classifier(path: str | Path) -> Classifier:
    """Load a trained classifier in eval mode on the CPU.

    Args:
        path: A Lightning checkpoint written while training a :class:`Classifier`.

    Raises:
        MissingFileError: When there is no such file.
        DataError: When the file is no checkpoint of a livecam classifier, or its weights do not fit it.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"No checkpoint at {path}: training writes them to runs/<name>/checkpoints/.")
    try:
        content: Any = read_plain(path)
    # Damaged files raise whatever pickle, zipfile or torch happen to trip over.
    except Exception as error:
        raise DataError(
            f"{path} cannot be read as a checkpoint (it is damaged, or carries code, which is never run)."
        ) from error
    content = content if isinstance(content, Mapping) else {}
    settings, state = content.get("hyper_parameters"), content.get("state_dict")
    if not isinstance(settings, Mapping) or "model" not in settings or not is_state(state):
        raise DataError(f"{path} holds no classifier: pass a .ckpt file of train.py, or --model with --weights FILE.")
    # Counted by the file: a tensor may claim any size and repeat one number.
    numbers = path.stat().st_size // 2
    try:
        arguments = _checked(settings)
        with Bounded(numbers, len(state)):
            classifier = Classifier(**arguments)
    # Settings that no training wrote raise whatever a network happens to trip over.
    except Exception as error:
        why = printable(str(error)) or type(error).__name__
        raise DataError(f"The classifier in {path} cannot be built: {why[:500].rstrip('.')}.") from error
    load_state(classifier, dict(state), set(), str(path), settings["model"])
    return classifier.eval()


def _checked(hparams: Mapping[Any, Any]) -> dict[str, Any]:
    """Those settings that a classifier has, of the types that it takes.

    Raises:
        DataError: Names the one that is of another type.
    """
    hints = typing.get_type_hints(Classifier.__init__)
    settings = {key: hparams[key] for key in inspect.signature(Classifier).parameters if key in hparams}
    for key, value in settings.items():
        if not _fits(value, hints[key]):
            raise DataError(f"its {key} is not of the kind that training writes")
    if settings.get("class_names"):
        settings["class_names"] = [printable(str(name)) for name in settings["class_names"]]
    # The checkpoint brings its weights; those that training started from may be gone.
    return settings | {"weights": None}


def _fits(value: Any, hint: Any) -> bool:
    options, kind = typing.get_args(hint), typing.get_origin(hint)
    if kind is Sequence:
        # Names of classes may be numbers: they become words.
        kinds = (str, int, float) if options == (str,) else (int, float)
        return isinstance(value, list | tuple) and all(isinstance(part, kinds) for part in value)
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


# What even a network without weights may make: index tables, and code that initializes.
_FREE_NUMBERS, _FREE_CALLS = 100_000_000, 100_000
# Weights are made, sometimes copied, and read by what initializes them; files may hold them in half precision.
_NUMBERS_EACH, _CALLS_EACH = 8, 200

_TOO_LARGE = "its settings ask for a network far larger than the weights beside them, or than this machine's memory"


class Bounded(TorchFunctionMode):
    """While it is entered, a network can be built that needs about as much as some weights, and no larger one.

    Args:
        numbers: How many numbers the weights are.
        tensors: How many tensors.
    """

    def __init__(self, numbers: int, tensors: int) -> None:
        super().__init__()
        self._numbers = _FREE_NUMBERS + _NUMBERS_EACH * numbers
        self._calls = _FREE_CALLS + _CALLS_EACH * tensors

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count a call, and the numbers that it makes.

        Raises:
            DataError: When there were more than the weights account for.
        """
        # Before they are filled, and with that take memory, tensors are empty ones.
        try:
            result = function(*args, **kwargs or {})
        except RuntimeError as error:
            if "allocate memory" in str(error):
                raise DataError(_TOO_LARGE) from error
            raise
        self._calls -= 1
        if isinstance(result, Tensor) and not any(result is argument for argument in args):
            self._numbers -= result.numel()
        if self._calls < 0 or self._numbers < 0:
            raise DataError(_TOO_LARGE)
        return result
