"""Options of methods and metrics: read as people write them, and refused in one sentence where there is no such one."""

import ast
import math
from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches
from inspect import signature
from typing import Any, TypeVar

from livecam.core.errors import OptionError

Made = TypeVar("Made")


def split_word(word: str) -> tuple[str, dict[str, Any]]:
    """Take ``rise(num_masks=1000,grid_size=5)`` apart into its name and its options, which are plain values.

    Raises:
        OptionError: When it is not written so.
    """
    if "(" not in word:
        return word, {}
    try:
        call = ast.parse(word.strip(), mode="eval").body
        options = [str(keyword.arg) for keyword in call.keywords] if isinstance(call, ast.Call) else [""]
        plain = not {"", "None"} & {*options} and len({*options}) == len(options) and not call.args
        if not plain or not isinstance(call.func, ast.Name):
            raise ValueError
        return call.func.id, {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (ValueError, SyntaxError) as error:
        raise OptionError(
            f"{word!r} cannot be read: options follow a name like rise(num_masks=1000, seed=1), texts in quotes."
        ) from error


def make(kind: Callable[..., Made], word: str, options: dict[str, Any]) -> Made:
    """Call ``kind`` with options that were written in ``word``.

    Raises:
        OptionError: When it has no such option, with near matches; or refuses a value.
    """
    check_known(word, options, options_of(kind))
    try:
        return kind(**options)
    except TypeError as error:
        raise OptionError(f"{word!r} cannot be made: {error}.") from error


def options_of(kind: Callable[..., Any]) -> list[str]:
    """Names of the options that ``kind`` takes."""
    return [name for name in signature(kind).parameters if name not in ("args", "kwargs")]


def suggest(word: object, words: Iterable[str], every: str = "") -> str:
    """A sentence, led by a space, with up to three near matches of a misspelt word.

    Args:
        word: What was written.
        words: What could have been meant.
        every: How a sentence with all that there are begins, where none is near; empty for none.
    """
    words = list(dict.fromkeys(words))
    # Compared in small letters, told as they are written: `gradcam` is near to GradCAM.
    names = {name.lower(): name for name in words}
    if close := [names[name] for name in get_close_matches(str(word).lower(), names, 3)]:
        return f" Did you mean {' or '.join(close)}?"
    return every and f" {every} {', '.join(words) or 'none'}."


def check_known(word: str, options: Iterable[str], available: Collection[str]) -> None:
    """Refuse an option, written in ``word``, that is not there.

    Raises:
        OptionError: With near matches, or all that there are.
    """
    for option in options:
        if option not in available:
            raise OptionError(f"{word!r}: there is no option {option!r}.{suggest(option, available, 'It has')}")


def check_option(option: str, value: str, values: Collection[str]) -> str:
    """The value, or a refusal of one that an option does not have.

    Raises:
        OptionError: With near matches and all values.
    """
    if value not in values:
        raise OptionError(f"{option}={value!r} is not one of {', '.join(values)}.{suggest(value, values)}")
    return value


def check_number(option: str, value: float, low: float, high: float = math.inf, above: bool = False) -> float:
    """The number, or a refusal of one outside of ``low`` to ``high``; with ``above``, of ``low`` itself too.

    Raises:
        OptionError: With the range.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not low <= value <= high or (above and value == low):
        where = f"above {low:g}" if above else f"from {low:g}"
        to = f" to {high:g}" if high < math.inf else ""
        raise OptionError(f"{option} is a number {where}{to}, got {value!r}.")
    return value


def check_seed(option: str, seed: int) -> int:
    """The seed, or a refusal of one that no generator takes.

    Raises:
        OptionError: With the value.
    """
    if check_count(option, seed, 0) >= 2**63:
        raise OptionError(f"{option} is a whole number below 2^63, got {seed}.")
    return seed


def check_count(option: str, value: int, least: int = 1) -> int:
    """The number, or a refusal of what is no whole number, or one below ``least``.

    Raises:
        OptionError: With the number.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise OptionError(f"{option} is a whole number from {least}, got {value!r}.")
    return value
