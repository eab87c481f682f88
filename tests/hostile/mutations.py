"""Damaged copies of good files, the same ones for the same seed."""

import copy
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

# What lengths, counts and offsets overflow at.
_VALUES = (None, True, -1, 0, 2**31, 10**400, 1e308, float("nan"), float("-inf"), "", "../../etc/passwd", "/dev/zero",
           "a\x1b[2J\n\0b", "\ud800", [], {}, [[]], [None], {"label": -1})  # fmt: skip
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def mutated(files: Sequence[bytes], count: int, seed: int) -> Iterator[tuple[int, bytes]]:
    """``count`` damaged copies, of each file in turn: number of the file, and the damaged bytes."""
    dice = random.Random(seed)
    for number in range(count):
        which = number % len(files)
        damaged = bytearray(files[which])
        for _ in range(dice.choice((1, 1, 2, 4))):
            damaged = dice.choice(_WAYS)(damaged, files, dice)
        yield which, bytes(damaged)


def revalued(text: str, count: int, seed: int) -> Iterator[str]:
    """``count`` copies of JSON with some of its values replaced, or given another name."""
    dice = random.Random(seed)
    for _ in range(count):
        content = copy.deepcopy(json.loads(text))
        for _ in range(dice.choice((1, 1, 2))):
            spots = list(_spots(content))
            holder, key = dice.choice(spots)
            if isinstance(holder, dict) and dice.random() < 0.2:
                holder[dice.choice(("", "__proto__", "../x", "\ud800"))] = holder.pop(key)
            else:
                holder[key] = copy.deepcopy(dice.choice(_VALUES))
        yield json.dumps(content)


def _spots(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every place below a value that holds another: the holder, and the key or number in it."""
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield content, key
        if isinstance(value, dict | list):
            yield from _spots(value)


def _place(content: bytearray, dice: random.Random) -> int:
    """Half of the places lie in the header, where the structure is."""
    return dice.randrange(max(1, min(len(content), 128) if dice.random() < 0.5 else len(content)))


def _flip(content: bytearray, files: Sequence[bytes], dice: random.Random) -> bytearray:
    for _ in range(dice.randint(1, 8)):
        if content:
            content[_place(content, dice)] ^= 1 << dice.randrange(8)
    return content


def _overwrite(content: bytearray, files: Sequence[bytes], dice: random.Random) -> bytearray:
    place, width = _place(content, dice), dice.choice((1, 2, 4))
    value = dice.choice(_EXTREMES) & (256**width - 1)
    content[place : place + width] = value.to_bytes(width, dice.choice(("big", "little")))
    return content


def _cut(content: bytearray, files: Sequence[bytes], dice: random.Random) -> bytearray:
    return content[: _place(content, dice)]


def _remove(content: bytearray, files: Sequence[bytes], dice: random.Random) -> bytearray:
    place = _place(content, dice)
    del content[place : place + dice.randint(1, 64)]
    return content


def _repeat(content: bytearray, files: Sequence[bytes], dice: random.Random) -> bytearray:
    place = _place(content, dice)
    content[place:place] = content[place : place + dice.randint(1, 64)] * dice.randint(1, 8)
    return content


def _noise(content: bytearray, files: Sequence[bytes], dice: random.Random) -> bytearray:
    place = _place(content, dice)
    noise = dice.randbytes(dice.randint(1, 32))
    content[place : place + len(noise)] = noise
    return content


def _splice(content: bytearray, files: Sequence[bytes], dice: random.Random) -> bytearray:
    other = dice.choice(files)
    return content[: _place(content, dice)] + other[dice.randrange(len(other)) :]


_WAYS = (_flip, _flip, _overwrite, _overwrite, _cut, _remove, _repeat, _noise, _splice)
