"""Options of methods, declared by their types: a frozen dataclass says what an option may be, and is held to it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from functools import cache, partial
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from livecam.core.validation import check_count, check_number, check_option, check_seed

Count = Annotated[int, check_count]
"""A whole number from 1."""
Amount = Annotated[int, partial(check_count, least=0)]
"""A whole number from 0."""
Seed = Annotated[int, check_seed]
"""A whole number from 0 that every generator takes."""
Positive = Annotated[float, partial(check_number, low=0, above=True)]
NonNegative = Annotated[float, partial(check_number, low=0)]
Share = Annotated[float, partial(check_number, low=0, high=1)]
"""A number from 0 to 1."""


def settle(options: Any, preset: Mapping[str, Any] | None = None) -> None:
    """Hold every field of a frozen dataclass to its type.

    A ``Literal`` is one of its words; ``Annotated[kind, check]`` is what ``check(option, value)`` returns, which raises
    where it is refused; a list, as YAML has them, becomes a tuple where the type says so.

    Args:
        options: The dataclass, as it was just made.
        preset: Values of fields that are None.

    Raises:
        OptionError: When a value is refused.
    """
    for option, hint in _hints(type(options)).items():
        value = getattr(options, option)
        value = preset.get(option) if value is None and preset else value
        object.__setattr__(options, option, _checked(option, value, hint))


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = {field.name: field.type for field in fields(kind)}
    # Annotations may be texts; those that name what exists for type checkers only say nothing here.
    with suppress(NameError, AttributeError, TypeError):
        hints |= {name: hint for name, hint in get_type_hints(kind, include_extras=True).items() if name in hints}
    return {name: hint for name, hint in hints.items() if not isinstance(hint, str)}


def _checked(option: str, value: Any, hint: Any) -> Any:
    kinds = (hint,) if get_origin(hint) in (Annotated, Literal, None) else get_args(hint)
    if value is None and NoneType in kinds:
        return None
    for kind in kinds:
        if get_origin(kind) is Literal and (isinstance(value, str) or len(kinds) == 1):
            check_option(option, value, get_args(kind))
        elif get_origin(kind) is Annotated:
            for check in kind.__metadata__:
                value = check(option, value)
    return as_tuple(value) if isinstance(value, list) and "tuple[" in str(hint) else value


def as_tuple(value: Any) -> Any:
    """The value, with tuples for its lists, however deep."""
    return tuple(map(as_tuple, value)) if isinstance(value, list | tuple) else value
