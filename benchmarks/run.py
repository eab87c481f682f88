"""Measure livecam against torchcam, pytorch_grad_cam, captum and the bare passes: one process, everybody in turns.

uv run --group bench python benchmarks/run.py [--quick] [--only REGEX] [--budget MINUTES] [--live] [--resume]

Cells are called net/method/batch/precision/size, such as resnet50/gradcam/8/fp32/224. Results are written after each;
what does not fit into the budget is named in them.
"""

import argparse
import hashlib
import os
import re
import time
import warnings
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from agreement import Disagreement, checked
from cells import Cell, matrix, within
from contests import METHODS, contest, precise
from curves import CURVES, draw
from results import Results
from subjects import NETS, Subject, subject
from tables import page_part, put_between
from timing import COSTLY, in_turns, seconds

from livecam.runtime.progress import no_progress

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "performance.md"
CHECKED_AT = 64
THEIR_PRICE = 2.0
"""What other libraries are expected to take over the bare passes, where a budget is spent."""
PREPARING = 3.0
"""Seconds that building and checking is expected to take per cell."""
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="REGEX", help="what is called so: cells, curve/NAME, live/NET")
    parser.add_argument("--quick", action="store_true", help="ResNet18 at 64 px, one image, one repeat, no curves")
    parser.add_argument(
        "--budget", type=float, default=45, metavar="MINUTES", help="for the cells; curves and live on top"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--live", action="store_true", help="validations of 1024 images with and without explanations")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--size", type=int, default=224, help="height and width of the images in pixels")
    parser.add_argument("--out", type=Path, default=HERE / "results" / f"{DEVICE}.json")
    parser.add_argument("--resume", action="store_true", help="go on from what --out holds")
    parser.add_argument("--write-docs", action="store_true", help="put the tables into docs/performance.md")
    args = parser.parse_args()
    if args.quick:
        args.nets, args.batches, args.precisions, args.size, args.repeats = ["resnet18"], [1], ["fp32"], CHECKED_AT, 1
    return args


def settings(args: argparse.Namespace) -> dict[str, object]:
    """What figures depend on, so that a resumed run does not mix two machines."""
    device = torch.cuda.get_device_name() if DEVICE == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    libraries = {name: version(name) for name in ("torch", "torchcam", "grad-cam", "captum")}
    return {"device": device, "size": args.size, "repeats": args.repeats, "livecam": code(), **libraries}


def code() -> str:
    """A digest of what is measured: figures of two states of livecam do not belong on one page."""
    folders = [find_spec(name).submodule_search_locations[0] for name in ("livecam", "livecam.callbacks")]
    files = sorted(file for folder in folders for file in Path(folder).rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


class Costs:
    """Seconds that cells are expected to take, from bare forwards of one image of each network and precision."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        self.alone: dict[tuple[str, str], tuple[Subject, float]] = {}

    def __call__(self, cell: Cell) -> float:
        """Every implementation's passes, in the first round and in those that follow it."""
        subject_, unit = self._bare(cell)
        one = contest(cell.method, subject_, cell.precision)
        passes = unit * cell.batch * (one.forwards + 3 * one.gradients)
        bare = 1 if cell.precision == "fp32" else 3
        first = passes * (bare + 1 + THEIR_PRICE * len(one.peers))
        return PREPARING + first * (1 if first > COSTLY else 1 + self.repeats)

    def _bare(self, cell: Cell) -> tuple[Subject, float]:
        key = cell.net, cell.precision
        if key not in self.alone:
            made = subject(cell.net, 1, cell.size, device=DEVICE)
            with torch.inference_mode(), precise(cell.precision, DEVICE):
                spent = [seconds(partial(made.net, made.images)) for _ in range(3)]
            self.alone[key] = made, min(spent)
        return self.alone[key]


def measured(cell: Cell, repeats: int) -> dict:
    """One cell: who took how long, over the bare passes in the cell's precision (and, beside bf16, in fp32)."""
    made = subject(cell.net, cell.batch, cell.size, device=DEVICE)
    ours = contest(cell.method, made, cell.precision)
    ours.prepare()

    def under(action: object) -> object:
        def run() -> None:
            with precise(cell.precision, DEVICE):
                action()

        return run

    actions = {"bare": under(ours.bare)}
    if cell.precision != "fp32":
        actions["bare fp32"] = ours.bare
    # livecam sets its precision by itself.
    actions["livecam"] = ours.ours
    actions |= {peer.library: under(peer.run) for peer in ours.peers}
    runs, failed = in_turns(actions, repeats)
    return {
        "runs": {name: run.summary() for name, run in runs.items()},
        "failed": failed,
        "load": round(os.getloadavg()[0], 2),
    }


def check(cell: Cell, results: Results) -> None:
    """Let everybody agree in double precision, once per network and method."""
    key = f"{cell.net}/{cell.method}"
    if key not in results.data["checks"]:
        made = subject(cell.net, 1, CHECKED_AT, dtype=torch.float64, device=DEVICE)
        results.put("checks", key, checked(contest(cell.method, made)))


def run_cells(args: argparse.Namespace, results: Results) -> None:
    """Choose, check and measure, with a line for each cell."""
    wanted = matrix(args.nets, METHODS, args.batches, args.precisions, args.size)
    wanted = [cell for cell in wanted if re.search(args.only, cell.key) and cell.key not in results.data["cells"]]
    chosen, left_out = within(wanted, Costs(args.repeats), 60 * args.budget)
    # A resumed run of a few cells does not forget what others were left out.
    before = {key: why for key, why in results.data["left_out"].items() if key not in {cell.key for cell in chosen}}
    results.data["left_out"] = before | {cell.key: why for cell, why in left_out.items()}
    results.write()
    total, done, start = sum(chosen.values()), 0.0, time.monotonic()
    print(f"{len(chosen)} cells, {len(left_out)} over the budget; about {total / 60:.0f} min", flush=True)
    for number, (cell, cost) in enumerate(chosen.items(), 1):
        try:
            check(cell, results)
            result = measured(cell, args.repeats)
            said = "  ".join(f"{name} {run['ratio']:.2f}" for name, run in result["runs"].items() if name != "bare")
            said = f"bare {result['runs']['bare']['ms']:.1f} ms  {said}  {'  '.join(result['failed'].values())}"
        except (Disagreement, torch.OutOfMemoryError) as error:
            result = {"refused": str(error).partition("\n")[0]}
            said = f"refused: {result['refused']}"
        results.put("cells", cell.key, result)
        done += cost
        rest = (time.monotonic() - start) / done * (total - done)
        print(f"[{number}/{len(chosen)}] {cell.key}  {said}  ({rest / 60:.1f} min left)", flush=True)


def run_curves(args: argparse.Namespace, results: Results) -> None:
    """How cost grows; each curve takes a minute or so."""
    for name, curve in CURVES.items():
        if re.search(args.only, f"curve/{name}") and name not in results.data["curves"]:
            results.put("curves", name, curve(DEVICE, args.repeats))
            print(f"curve/{name}  {results.data['curves'][name]['lines']}", flush=True)


def run_live(args: argparse.Namespace, results: Results) -> None:
    """What live scores and a gallery add to a validation."""
    # Lightning takes seconds to import, which single cells need not wait for.
    import live_validation

    for net, size in live_validation.NETS.items():
        if re.search(args.only, f"live/{net}") and net not in results.data["live"]:
            rows = list(live_validation.rows({net: size}, images=1024, batch=32, repeats=args.repeats))
            results.put("live", net, rows)
            print(f"live/{net}", *(f"  {row['kind']} {row['ratio']:.3f}" for row in rows), flush=True)


def main() -> int:
    """Everything that is asked for; 1 where implementations disagreed."""
    args = arguments()
    warnings.simplefilter("ignore")
    results = Results(args.out, settings(args), args.resume)
    print("; ".join(f"{key} {value}" for key, value in results.data["settings"].items()), flush=True)
    with no_progress():
        run_cells(args, results)
        if not args.quick:
            run_curves(args, results)
        if args.live:
            run_live(args, results)
    if args.write_docs:
        put_between(PAGE, args.out.name, page_part(results.data, args.out.stem))
        draw(results.data["curves"], PAGE.parent, args.out.stem)
    print(f"Written to {args.out}")
    return int(any("refused" in result for result in results.data["cells"].values()))


if __name__ == "__main__":
    raise SystemExit(main())
