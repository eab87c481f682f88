"""Writes what livecam writes, again and again, until it is killed: ``python writing.py page|checkpoint|rows``."""

import itertools
import json
import sys
import time
import zlib
from pathlib import Path

from livecam.core.files import temporary_sibling, write_atomically
from livecam.evaluation.score_store import ScoreFolder
from livecam.report.html.page_data import PageData

COLUMNS = ["score"]


def name_of(index: int) -> str:
    """With what a row can be torn at."""
    return f'{index} "quoted",\nover two lines' * 40


def page():
    data = PageData(title="killed", metrics={"loss": {step: step / 7 for step in range(2000)}})
    first = PageData.from_js(Path("data.js").read_text("ascii")).step + 1 if Path("data.js").exists() else 0
    for step in itertools.count(first):
        data.step = step
        blob = bytes([step % 256]) * 300_000
        write_atomically(Path("blob"), zlib.crc32(blob).to_bytes(4, "big") + blob)
        write_atomically(Path("data.js"), data.to_js().encode())
        yield


def checkpoint():
    place = Path("last.ckpt")
    first = int.from_bytes(place.read_bytes()[4:12], "big") + 1 if place.exists() else 0
    for step in itertools.count(first):
        blob = bytes([step % 256]) * 1_000_000
        with temporary_sibling(place, durable=True) as part, part.open("wb") as file:
            file.write(zlib.crc32(blob).to_bytes(4, "big") + step.to_bytes(8, "big"))
            file.write(blob)
        yield


def rows():
    folder = ScoreFolder(Path("scores"), {"x": 1}, COLUMNS)
    done = {index for index, _ in folder.images()}
    writer = folder.open(0)
    for index in itertools.count():
        if index not in done:
            fact = {"index": index, "file": name_of(index), "score": json.dumps(index * 1.5), "of": 2}
            writer.write([fact | {"method": method} for method in ("a", "b")])
            # Few, since all are read after each kill.
            time.sleep(0.001)
            yield


if __name__ == "__main__":
    for number, _ in enumerate({"page": page, "checkpoint": checkpoint, "rows": rows}[sys.argv[1]]()):
        if number == 0:
            print("writing", flush=True)
