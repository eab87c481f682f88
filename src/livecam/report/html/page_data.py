"""What the local page shows, as plain data, and its form on disk: ``window.LIVECAM = {…};``.

The file is both a script, because a page opened from disk may not fetch, and JSON behind a fixed prefix, so that a
resumed run reads its own history back. Text from users never becomes a key of an object (``__proto__`` would be a
trap) and every character that HTML or JavaScript could take for its own is written as an escape.
"""

import dataclasses
import json
import math
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PREFIX = "window.LIVECAM = "
LONGEST_LEAF = 300


@dataclass
class PageData:
    """History of one run; everything the page knows.

    Attributes:
        title: Heading of the page.
        status: ``running``, ``finished`` or ``failed``.
        started: Seconds since 1970 when the run first started.
        updated: Seconds since 1970 when this was last written.
        elapsed: Seconds of running, pauses between resumed runs left out.
        step: Step last logged; -1 before the first.
        metrics: Key to step to value; NaN and infinities are allowed.
        galleries: Key to step to pictures ``{"file", "check", "caption", "width", "height"}``; the checksum makes
            browsers forget a picture that was replaced under its name.
        tables: Key to ``{"columns", "rows"}``.
        config: Pairs of name and leaf, or name and further pairs (see `config_tree`).
    """

    title: str = ""
    status: str = "running"
    started: float = 0.0
    updated: float = 0.0
    elapsed: float = 0.0
    step: int = -1
    metrics: dict[str, dict[int, float]] = field(default_factory=dict)
    galleries: dict[str, dict[int, list[dict]]] = field(default_factory=dict)
    tables: dict[str, dict] = field(default_factory=dict)
    config: list[list] = field(default_factory=list)

    def to_js(self) -> str:
        """Write as one assignment in ASCII; points may be added meanwhile."""
        # Copies, which no other thread can come between.
        metrics = {key: dict(values) for key, values in list(self.metrics.items())}
        plain = {name: getattr(self, name) for name in ("title", "status", "started", "updated", "elapsed", "step")}
        plain["metrics"] = [
            {"key": key, "steps": sorted(values), "values": [_number(values[step]) for step in sorted(values)]}
            for key, values in metrics.items()
        ]
        plain["galleries"] = [
            {"key": key, "entries": [{"step": step, "images": entries[step]} for step in sorted(entries)]}
            for key, entries in list(self.galleries.items())
        ]
        plain["tables"] = [{"key": key, **table} for key, table in list(self.tables.items())]
        plain["config"] = self.config
        text = json.dumps(plain, allow_nan=False, separators=(",", ":"))
        for character in "<>&":
            text = text.replace(character, f"\\u{ord(character):04x}")
        return f"{PREFIX}{text};\n"

    def discard_from(self, step: int) -> None:
        """Forget points and pictures from ``step`` on."""
        for history in (self.metrics, self.galleries):
            for key, entries in list(history.items()):
                history[key] = {at: entry for at, entry in entries.items() if at < step}
                if not history[key]:
                    del history[key]
        self.step = min(self.step, step - 1)

    @classmethod
    def from_js(cls, text: str) -> "PageData":
        """Read back what `to_js` wrote.

        Raises:
            ValueError: When the text is not whole.
        """
        if not (text.startswith(PREFIX) and text.endswith(";\n")):
            raise ValueError("not a whole data.js of livecam")
        plain = json.loads(text[len(PREFIX) : -2])
        try:
            plain["metrics"] = {
                series["key"]: dict(zip(series["steps"], map(float, series["values"]), strict=True))
                for series in plain["metrics"]
            }
            plain["galleries"] = {
                gallery["key"]: {entry["step"]: entry["images"] for entry in gallery["entries"]}
                for gallery in plain["galleries"]
            }
            plain["tables"] = {table.pop("key"): table for table in plain["tables"]}
            return cls(**plain)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"data.js has another layout: {error!r}") from error


def config_tree(params: Any) -> Any:
    """Turn nested settings into pairs ``[name, leaf or pairs]`` with leaves that JSON can hold.

    Args:
        params: Mapping, Namespace, dataclass, or any leaf; lists of plain values stay on one line.
    """
    if isinstance(params, Namespace):
        params = vars(params)
    elif dataclasses.is_dataclass(params) and not isinstance(params, type):
        params = {item.name: getattr(params, item.name) for item in dataclasses.fields(params)}
    if isinstance(params, Mapping):
        return [[str(name), config_tree(value)] for name, value in params.items()]
    if isinstance(params, list | tuple):
        if any(isinstance(item, Mapping | Namespace | list | tuple) for item in params):
            return [[str(index), config_tree(item)] for index, item in enumerate(params)]
        return plain_leaf(f"[{', '.join(map(str, params))}]")
    return plain_leaf(params)


def plain_leaf(value: Any) -> str | int | float | bool | None:
    """Make one value safe for JSON: numbers stay, one-element tensors become numbers, the rest becomes text."""
    if hasattr(value, "item") and math.prod(getattr(value, "shape", (0,))) == 1:
        value = value.item()
    if isinstance(value, float):
        return _number(value)
    if value is None or isinstance(value, bool | int):
        return value
    text = str(value)
    return text if len(text) <= LONGEST_LEAF else f"{text[:LONGEST_LEAF]}…"


def _number(value: float) -> float | str:
    """Ten digits are more than a screen shows; JSON has no NaN, and both JavaScript and Python read these names."""
    if math.isfinite(value):
        return float(f"{value:.10g}")
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
