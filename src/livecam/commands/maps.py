"""``explain.py maps``: where trained networks look in given photos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from livecam.commands.explained_photos import PhotoExplainer
from livecam.commands.networks import SeveralNetworks, load_networks
from livecam.commands.outputs import Histories, append_arrays, write_pictures
from livecam.commands.photo_selection import photos_of, true_classes
from livecam.commands.photo_selection import pick as pick_photos
from livecam.commands.photos import PhotoOptions, find_photos, photo_batches
from livecam.core.errors import OptionError
from livecam.core.files import ArrayFile
from livecam.core.validation import check_count
from livecam.evaluation.loaded_network import Network
from livecam.explain import by_names
from livecam.explain.explanation import check_names
from livecam.report.html.maps_page import Entry, write_maps_page
from livecam.runtime.progress import listed, to_device


@dataclass(kw_only=True)
class Maps(PhotoOptions, SeveralNetworks):
    """Draw explanations of photos: strips, overlays, arrays and a page; with several networks, side by side.

    Writes ``<photo>.png`` (strip) and ``overlays/<photo>_<method>.png`` per photo, ``maps.npz`` (``files``, ``target``,
    ``probability`` and one array ``(N, H, W)`` in [0, 1] per method) and ``index.html``. With several networks
    ``<photo>.png`` is a grid (networks are columns, methods rows), overlays are ``<photo>_<network>_<method>.png`` and
    the arrays ``<network>.<method>``, ``<network>.target`` and ``<network>.probability``, beside ``files``; a method
    that does not fit one of the networks is missing there. With ``--target each`` ``<photo>.png`` has a row per class
    and a column per method, overlays are ``<photo>_<class>_<method>.png``, methods, ``target`` and ``probability`` have
    an axis of classes behind that of photos, ``(N, K, H, W)`` and ``(N, K)``, and ``predicted`` ``(N,)`` joins them.
    Of optimized masks (igos, emp, sigcam) ``histories.csv`` has objective, score, L1, TV and step of every iteration,
    and ``histories/<photo>_<method>.png`` draws them.

    Args:
        methods: Names separated by commas, such as gradcam,gradual_gradcam, or presets (s4; s1 and s2 for VGG-16).
        target: Class to explain, by name or index; by default the one that each network predicts. The word each
            explains every class of one network, at most 10.
        labels: Where true classes are known from, for one network: folder takes the name of the folder that a photo
            lies in, where that is a class. Right answers are framed green, wrong ones red.
        pick: Explain only so many photos answered right and so many answered wrong of each true class, chosen among all
            photos the same way every time; takes labels from folders. Photos that the network was trained on are
            among them unless --split val leaves them out.
        split: Take only those photos that training kept in this split of its data, as val for validation; the division
            is read from the run folder of the checkpoint.
    """

    methods: str = "gradcam"
    target: str | None = None
    labels: Literal["folder"] | None = None
    pick: int | None = None
    split: Literal["train", "val", "test"] | None = None
    out: str = "explanations"

    def run(self) -> None:
        """Write pictures, arrays and page to ``out``."""
        explainers = by_names(listed(self.methods))
        if not explainers:
            raise OptionError("No method was named: --methods takes names separated by commas, such as gradcam,cam.")
        check_names(explainers)
        check_count("batch_size", self.batch_size)
        if self.pick is not None:
            check_count("pick", self.pick)
        photos = find_photos(self.paths)
        networks = load_networks(self)
        remarks: list[str] = []
        truth: dict[Path, str] = {}
        if self.split or self.labels or self.pick:
            _check_one(networks, {"split": self.split, "labels": self.labels, "pick": self.pick})
        if self.split:
            if not self.checkpoint:
                raise OptionError("Split is what a training kept of its data: it takes a --checkpoint, not a --model.")
            photos, line = photos_of(self.split, photos, self.checkpoint[0])
            remarks.append(line)
        if self.labels or self.pick:
            truth = true_classes(photos, networks[0])
        photo_explainer = PhotoExplainer(networks, explainers, self.target, truth)
        for network in networks:
            to_device(network.model, self.device)
        if self.pick:
            photos, line = pick_photos(photos, truth, networks[0], self.pick, self.batch_size)
            remarks.append(line)
        for line in remarks:
            print(line)
        rows = list(photo_explainer.printed.values())
        folder = Path(self.out)
        (folder / "overlays").mkdir(parents=True, exist_ok=True)
        entries: list[Entry] = []
        histories = Histories(folder)
        with ArrayFile(folder / "maps.npz") as arrays:
            for read in photo_batches("explaining", photos, networks, self.batch_size):
                views = photo_explainer.explain(read)
                append_arrays(arrays, read, views, photo_explainer.each)
                entries += write_pictures(folder, read, views, rows, photo_explainer.each, histories)
        count = f"{len(entries)} photo{'s' * (len(entries) > 1)}"
        facts = [*dict.fromkeys(network.source for network in networks), count, ", ".join(rows)]
        facts += ["each class" if photo_explainer.each else f"class {self.target}"] if self.target is not None else []
        facts += [line.removesuffix(".") for line in remarks]
        write_maps_page(folder / "index.html", _title(networks), " · ".join(facts), entries)
        skipped = f", {len(photos) - len(entries)} unreadable skipped" if len(entries) < len(photos) else ""
        print(f"{count} explained{skipped}: {folder / 'index.html'}")
        photo_explainer.check()


def _check_one(networks: Sequence[Network], options: dict[str, object]) -> None:
    if len(networks) > 1:
        option = next(name for name, value in options.items() if value is not None)
        raise OptionError(f"--{option} is about the answers and the training of one network: give a single network.")


def _title(networks: Sequence[Network]) -> str:
    if len(networks) == 1:
        return f"Where {networks[0].label} looks"
    return "Side by side: " + " | ".join(network.label for network in networks)
