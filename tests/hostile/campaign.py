"""More mutated files than tests read: ``python tests/hostile/campaign.py photos 50000 1`` (what, how many, seed)."""

import importlib
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def run(what: str, count: int, seed: int) -> dict[str, int]:
    """Read mutated ``photos``, ``weights`` or ``annotations``, print one line, and return what became of them."""
    with tempfile.TemporaryDirectory() as folder:
        told = importlib.import_module(f"fuzzed_{what}").read_all(Path(folder), count, seed)
    print(f"{count} mutated {what}: {', '.join(f'{number} {outcome}' for outcome, number in sorted(told.items()))}")
    return told


if __name__ == "__main__":
    run(sys.argv[1], *map(int, sys.argv[2:]))
