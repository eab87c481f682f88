"""Winds W&B's offline files back: what a killed training logged beyond the checkpoint that it goes on from.

Each start of a run writes a file of its own (a segment), ``<run folder>/wandb/offline-run-<time>-<id>/run-<id>.wandb``.
A training that was killed at step 100 and goes on from a checkpoint of step 60 logs steps 60 to 100 again; in the first
segment they end where the second begins. Segments are logs of records, so the beginning of one is a whole file.
"""

import contextlib
import itertools
import json
import logging
import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from livecam.core.files import write_atomically

_log = logging.getLogger(__name__)

STEP = "trainer/global_step"
_IDENT = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
_BLOCK = 32768
_HEADER = struct.Struct("<IHB")
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def prompt_settings() -> dict[str, float]:
    """Settings of W&B by which its process writes once a second, not every 15: a kill may end that process, too."""
    import wandb

    name = "x_transaction_log_flush_interval"
    # Releases before it write when a block is full.
    return {name: 1.0} if name in wandb.Settings.model_fields else {}


def wind_back(folder: Path, step: int, now: Path | None = None) -> int:
    """End the offline segments of a run before ``step``; what they held stays beside them as ``*.wandb.before-<n>``.

    Segments that were uploaded (marked ``*.synced``) and those of runs that were online are left alone: the server has
    their rows already.

    Args:
        folder: Run folder.
        step: The step that is logged next.
        now: The segment that is being written.

    Returns:
        How many segments were cut.
    """
    cut = 0
    for file in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        current = now is not None and now.exists() and file.samefile(now)
        if current or file.with_name(f"{file.name}.synced").exists():
            continue
        content = file.read_bytes()
        if not content.startswith(_IDENT):
            _log.warning("%s has another form than W&B's files of this version: it is left as it is.", file)
            continue
        end = _end_before(content, step)
        if end is not None:
            _keep(file)
            write_atomically(file, content[:end])
            cut += 1
    return cut


def _end_before(content: bytes, step: int) -> int | None:
    """Where the last record before ``step`` ends; None when there is no step so high."""
    from wandb.proto.wandb_internal_pb2 import Record

    start = len(_IDENT)
    for payload, end in records(content):
        record = Record.FromString(payload)
        items = record.history.item or record.summary.update
        logged = [item.value_json for item in items if STEP in (item.key, *item.nested_key)]
        if any(_number(value) >= step for value in logged):
            return start
        start = end
    return None


def records(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Records of a segment and where each ends; a last one that a kill cut off is left out.

    A segment is a LevelDB log: blocks of 32 KiB, in which records, or parts of one, follow a header of checksum, length
    and kind.
    """
    at, parts = len(_IDENT), []
    while at + _HEADER.size <= len(content):
        room = _BLOCK - at % _BLOCK
        if room < _HEADER.size:
            at += room
            continue
        _, length, kind = _HEADER.unpack_from(content, at)
        at += _HEADER.size
        if kind not in (_WHOLE, _FIRST, _MIDDLE, _LAST) or at + length > len(content):
            return
        parts.append(content[at : at + length])
        at += length
        if kind in (_WHOLE, _LAST):
            yield b"".join(parts), at
            parts = []


def _number(text: str) -> float:
    value: Any = json.loads(text)
    return float(value) if isinstance(value, int | float) else float("-inf")


def _keep(file: Path) -> None:
    """Give the file a second name, which stays when the first is replaced."""
    kept = next(name for n in itertools.count(1) if not (name := file.with_name(f"{file.name}.before-{n}")).exists())
    with contextlib.suppress(OSError):
        os.link(file, kept)
        return
    # A file system without hard links.
    shutil.copyfile(file, kept)
