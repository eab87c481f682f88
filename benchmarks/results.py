"""The file of results: written after every cell, so that an interrupted run loses one cell and goes on."""

import json
import os
from pathlib import Path
from typing import Any


class Results:
    """A JSON file that is always whole.

    Args:
        file: Where it lies.
        settings: What figures depend on; a file of other settings is not continued.
        resume: Whether to go on from what the file holds; otherwise it starts anew.

    Raises:
        SystemExit: When the file that is to be continued was written under other settings.
    """

    def __init__(self, file: Path, settings: dict[str, Any], resume: bool = False) -> None:
        self.file = file
        parts = ("checks", "cells", "left_out", "curves", "live")
        self.data: dict[str, Any] = {"settings": settings, **{part: {} for part in parts}}
        if resume and file.exists():
            before = json.loads(file.read_text())
            if changed := [key for key in settings if before["settings"].get(key) != settings[key]]:
                raise SystemExit(f"{file} was measured with other {', '.join(changed)}: run without --resume.")
            self.data = before

    def put(self, part: str, key: str, value: Any) -> None:
        """Add one entry to a part and write the file."""
        self.data[part][key] = value
        self.write()

    def write(self) -> None:
        """Write aside and rename: a reader, or a kill, never meets half a file."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        aside = self.file.with_suffix(".tmp")
        aside.write_text(json.dumps(self.data, indent=1) + "\n")
        os.replace(aside, self.file)
