"""``explain.py maps``: where trained networks look in given photos."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from livecam.commands.common import listed, progress, to_device
from livecam.commands.lineup import load_networks
from livecam.commands.network import Network
from livecam.commands.photos import find_photos, stems
from livecam.commands.pictures import append_arrays, write_pictures
from livecam.commands.reading import read_photos
from livecam.commands.views import Viewers
from livecam.explain import by_names
from livecam.explain.explanation import check_names
from livecam.explain.naming import check_count
from livecam.report.arrays import ArrayFile
from livecam.report.maps_page import Entry, write_maps_page


def maps(
    paths: list[str],
    checkpoint: list[str] | None = None,
    model: list[str] | None = None,
    weights: list[str] | None = None,
    methods: str = "gradcam",
    target: str | None = None,
    out: str = "explanations",
    batch_size: int = 8,
    num_classes: int = 1000,
    image_size: int = 224,
    resize: Literal["crop", "stretch"] = "crop",
    device: str | None = None,
) -> None:
    """Draw explanations of photos: strips, overlays, arrays and a page; with several networks, side by side.

    Writes ``<photo>.png`` (strip) and ``overlays/<photo>_<method>.png`` per photo, ``maps.npz`` (``files``, ``target``,
    ``probability`` and one array ``(N, H, W)`` in [0, 1] per method) and ``index.html``. With several networks
    ``<photo>.png`` is a grid (networks are columns, methods rows), overlays are ``<photo>_<network>_<method>.png`` and
    the arrays ``<network>.<method>``, ``<network>.target`` and ``<network>.probability``, beside ``files``; a method
    that does not fit one of the networks is missing there.

    Args:
        paths: Photos, or folders of photos.
        checkpoint: Checkpoints of train.py, one or several.
        model: Networks by name instead, or beside them, such as torchvision/resnet50 or timm/convnext_tiny.
        weights: Weights of those networks, one for each or one for all: pretrained, another published name, or a file.
        methods: Names separated by commas, such as gradcam,gradual_gradcam, or presets (s4; s1 and s2 for VGG-16).
        target: Class to explain, by name or index; by default the one that each network predicts.
        out: Folder to write to.
        batch_size: Photos per pass.
        num_classes: Outputs of --model.
        image_size: Input size of --model.
        resize: How photos are brought to that size for --model: crop (centre) or stretch (whole photo).
        device: Where to compute; the accelerator by default, where there is one.
    """
    explainers = by_names(listed(methods))
    if not explainers:
        raise ValueError("No method was named: --methods takes names separated by commas, such as gradcam,cam.")
    check_names(explainers)
    check_count("batch_size", batch_size)
    photos = find_photos(paths)
    networks = load_networks(checkpoint or [], model or [], weights or [], num_classes, image_size, resize)
    viewers = Viewers(networks, explainers, target)
    for network in networks:
        to_device(network.model, device)
    rows = list(viewers.printed.values())
    folder = Path(out)
    (folder / "overlays").mkdir(parents=True, exist_ok=True)
    entries: list[Entry] = []
    with ArrayFile(folder / "maps.npz") as arrays:
        for chunk in progress("explaining", list(zip(photos, stems(photos))), batch_size):
            if read := read_photos(chunk, networks):
                views = viewers.look(read)
                append_arrays(arrays, read, views)
                entries += write_pictures(folder, read, views, rows)
        if not entries:
            raise ValueError(f"None of the {len(photos)} photos could be read.")
    count = f"{len(entries)} photo{'s' * (len(entries) > 1)}"
    facts = [*dict.fromkeys(network.source for network in networks), count, ", ".join(rows)]
    facts += [f"class {target}"] if target is not None else []
    write_maps_page(folder / "index.html", _title(networks), " · ".join(facts), entries)
    skipped = f", {len(photos) - len(entries)} unreadable skipped" if len(entries) < len(photos) else ""
    print(f"{count} explained{skipped}: {folder / 'index.html'}")


def _title(networks: Sequence[Network]) -> str:
    if len(networks) == 1:
        return f"Where {networks[0].label} looks"
    return "Side by side: " + " | ".join(network.label for network in networks)
