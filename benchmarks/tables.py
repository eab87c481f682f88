"""Results as Markdown, put between two markers of a page."""

from pathlib import Path
from typing import Any

from cells import Cell
from subjects import NETS

METHOD_NAMES = {
    "gradcam": "Grad-CAM",
    "family": "whole family",
    "gradcam_pp": "Grad-CAM++",
    "scorecam": "Score-CAM",
    "smooth_gradcam_pp": "Smooth Grad-CAM++",
    "occlusion": "occlusion",
    "rise": "RISE",
    "integrated_gradients": "integrated gradients",
    "insertion_deletion": "insertion/deletion",
    "igos": "I-GOS",
}
NOBODY = "—"


def cell_of(key: str) -> Cell:
    """The cell of a key."""
    net, method, batch, precision, size = key.split("/")
    return Cell(net, method, int(batch), precision, int(size))


def _order(key: str) -> tuple[int, int, int, bool]:
    cell = cell_of(key)
    return [*NETS].index(cell.net), [*METHOD_NAMES].index(cell.method), cell.batch, cell.precision != "fp32"


def table(rows: list[list[str]]) -> str:
    """A Markdown table; the first row is its head."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def best_peer(runs: dict[str, dict]) -> str | None:
    """The fastest other library."""
    others = [name for name in runs if name != "livecam" and not name.startswith("bare")]
    return min(others, key=lambda name: runs[name]["ratio"], default=None)


def cells_table(data: dict[str, Any]) -> str:
    """One row per measured cell, in the order of the networks and methods, however a run went on."""
    rows = [["net", "method", "batch", "precision", "bare ms", "livecam", "best peer", "agrees with", "peak MiB"]]
    for key in sorted(data["cells"], key=_order):
        result, cell = data["cells"][key], cell_of(key)
        runs = result.get("runs")
        start = [cell.net, METHOD_NAMES[cell.method], str(cell.batch), cell.precision]
        if runs is None:
            rows.append([*start, "refused", result["refused"], "", "", ""])
            continue
        ours, peer = runs["livecam"], best_peer(runs)
        checks = data["checks"].get(f"{cell.net}/{cell.method}", {})
        rows.append(
            [
                *start,
                f"{runs['bare']['ms']:,.0f}" if runs["bare"]["ms"] >= 10 else f"{runs['bare']['ms']:.2f}",
                f"{ours['ratio']:.2f}",
                f"{runs[peer]['ratio']:.2f} {peer}" if peer else NOBODY,
                ", ".join(name for name, check in checks.items() if check["agrees"]) or NOBODY,
                f"{_mib(ours)}; {_mib(runs[peer])}" if peer else _mib(ours),
            ]
        )
    return table(rows)


def _mib(run: dict) -> str:
    # Nothing was seen where the process had kept as much from before.
    return f"{run['peak_mib']:,.0f}" if run["peak_mib"] and run["peak_mib"] >= 0.5 else NOBODY


def notes(data: dict[str, Any]) -> str:
    """What the table does not say: who differs and why, who failed, and what was left out."""
    differs = {
        f"{name}: {check['why']}"
        for checks in data["checks"].values()
        for name, check in checks.items()
        if check["agrees"] is None
    }
    failed = {
        f"{name} in {cell_of(key).precision}, {METHOD_NAMES[cell_of(key).method]}: {why}"
        for key, result in data["cells"].items()
        for name, why in result.get("failed", {}).items()
    }
    lines = [f"- Differs: {each}." for each in sorted(differs)]
    lines += [f"- Failed: {each}" for each in sorted(failed)]
    if data["left_out"]:
        lines.append(f"- {len(data['left_out'])} cells were over the budget; the JSON file names them.")
    return "\n".join(lines)


def targets_table(data: dict[str, Any]) -> str:
    """What is aimed at, and what was measured; a target whose cells were not run is open."""
    rows = [["what", "target", "livecam", "best peer", "measured by"]]
    command = "`run.py --only '{}'`"

    def row(what: str, limit: float, key: str, unit: str = "bare") -> None:
        runs = data["cells"].get(key, {}).get("runs")
        if runs is None or unit not in runs:
            rows.append([what, f"≤ {limit:.2f}", "not measured here", "", command.format(key)])
            return
        base, peer = runs[unit]["ratio"], best_peer(runs)
        theirs = f"{runs[peer]['ratio'] / base:.2f} {peer}" if peer else NOBODY
        rows.append([what, f"≤ {limit:.2f}", f"{runs['livecam']['ratio'] / base:.2f}", theirs, command.format(key)])

    size = data["settings"]["size"]
    for net, live in data["live"].items():
        ratio = next(each["ratio"] for each in live if each["kind"] == "scores and gallery")
        set_of = f"{live[0]['images']} images of {live[0]['size']} px"
        what = f"live scores of the family and a gallery, {net}, {set_of}, over plain validation"
        rows.append([what, "≤ 1.10", f"{ratio:.2f}", NOBODY, f"`run.py --live --only 'live/{net}$'`"])
    row(f"Grad-CAM, ResNet50, {size} px, batch 8, over a bare forward", 1.03, f"resnet50/gradcam/8/fp32/{size}")
    row("the whole family, the same", 1.08, f"resnet50/family/8/fp32/{size}")
    row("Score-CAM, VGG16, over a bare forward per channel", 1.0, f"vgg16/scorecam/1/fp32/{size}")
    row("Score-CAM in bf16, over bare forwards in fp32", 0.25, f"vgg16/scorecam/1/bf16/{size}", "bare fp32")
    row("insertion/deletion, over its passes", 1.15, f"resnet18/insertion_deletion/8/fp32/{size}")
    row("RISE, over its passes", 1.15, f"resnet18/rise/8/fp32/{size}")
    row("occlusion, over its passes", 1.15, f"resnet18/occlusion/8/fp32/{size}")
    row("I-GOS, over its passes", 1.15, f"resnet18/igos/1/fp32/{size}")
    return table(rows)


def page_part(data: dict[str, Any], stem: str) -> str:
    """All that a page shows of one file of results; charts lie beside it as ``performance_<stem>_<name>.svg``."""
    settings = data["settings"]
    line = ", ".join(f"{key} {value}" for key, value in settings.items() if key != "size")
    charts = [f"![{curve['title']}](performance_{stem}_{name}.svg)" for name, curve in data["curves"].items()]
    parts = [f"{line}; {settings['size']} px.", targets_table(data), cells_table(data), notes(data), "\n".join(charts)]
    return "\n\n".join(part for part in parts if part)


def put_between(page: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- name -->`` and ``<!-- /name -->``.

    Raises:
        SystemExit: When the page has no such markers.
    """
    before, start, rest = page.read_text().partition(f"<!-- {name} -->")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not end:
        raise SystemExit(f"{page} has no place <!-- {name} --> … <!-- /{name} --> for these results.")
    page.write_text(f"{before}{start}\n\n{text}\n\n{end}{after}")
