"""Does Gradual Extrapolation move evidence onto objects? Energy in annotated boxes, base map against sharpened map.

LIVECAM_DATA=FOLDER uv run benchmarks/gradual.py [--photos 100] [--area 0.25]

Reads ilsvrc_val/ (images and annotations.json with label, width, height and boxes) and weights/ in that folder. Photos
whose boxes cover more than ``--area`` are left out: there a uniform map is inside the box already.
"""

import argparse
import json
import os
from pathlib import Path

import torch
import torchvision
from conditions import conditions
from PIL import Image
from torchvision.transforms.v2 import functional as F

from livecam.core.normalization import IMAGENET
from livecam.explain import GradCAM, GradCAMPlusPlus, GradualExtrapolation, LayerCAM, explain
from livecam.metrics import localization_score

SIZE = 224
NETWORKS = ("mobilenet_v2", "squeezenet1_1")
BASES = (GradCAM(), GradCAMPlusPlus(), LayerCAM())


def read(folder: Path, name: str, entry: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """A photo stretched to 224 px, and the union of its boxes."""
    photo = F.to_image(Image.open(folder / name).convert("RGB"))
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    across, down = SIZE / entry["width"], SIZE / entry["height"]
    for x1, y1, x2, y2 in entry["boxes"]:
        mask[round(y1 * down) : round(y2 * down), round(x1 * across) : round(x2 * across)] = True
    return F.to_dtype(F.resize(photo, [SIZE, SIZE], antialias=True), torch.float32, scale=True), mask


def interval(values: torch.Tensor) -> str:
    """Mean and its 95 % bootstrap interval."""
    draws = torch.randint(len(values), (2000, len(values)), generator=torch.Generator().manual_seed(0))
    low, high = values[draws].mean(1).quantile(torch.tensor([0.025, 0.975]).to(values)).tolist()
    return f"{values.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def main() -> None:
    """Print one line per network and base."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--area", type=float, default=0.25)
    args = parser.parse_args()
    data = Path(os.environ["LIVECAM_DATA"])
    known = json.loads((data / "ilsvrc_val" / "annotations.json").read_text())
    loaded = [(read(data / "ilsvrc_val" / "images", name, known[name]), known[name]["label"]) for name in sorted(known)]
    chosen = [item for item in loaded if 0 < item[0][1].float().mean() <= args.area][: args.photos]
    images, masks = (torch.stack([photo[i] for photo, _ in chosen]) for i in (0, 1))
    labels = torch.tensor([label for _, label in chosen])
    print(conditions(torchvision))
    print(f"{len(chosen)} photos, boxes cover at most {args.area:.0%}; chance {masks.float().mean():.3f}")
    # The outermost pixels, where padding leaves activations that no object causes.
    rim = torch.ones(SIZE, SIZE, dtype=torch.bool)
    rim[4:-4, 4:-4] = False
    for name in NETWORKS:
        net = torchvision.models.get_model(name, weights=None).eval()
        net.load_state_dict(torch.load(data / "weights" / f"{name}_imagenet.pth", weights_only=True))
        methods = [*BASES, *(GradualExtrapolation(base) for base in BASES)]
        parts = [
            explain(net, IMAGENET.to_input(images[start : start + 10]), methods, labels[start : start + 10])
            for start in range(0, len(images), 10)
        ]
        for base in BASES:
            plain, sharp = (torch.cat([p[key].energy for p in parts]) for key in (base.name, f"gradual_{base.name}"))
            before, after = localization_score(plain, masks), localization_score(sharp, masks)
            sound = before.isfinite() & after.isfinite()
            before, after = before[sound], after[sound]
            on_rim = localization_score(sharp, rim.expand_as(masks)).nan_to_num().mean()
            print(
                f"{name:14} {base.label:11} n {len(before):3}  in box {before.mean():.3f} -> {after.mean():.3f}, "
                f"difference {interval(after - before)}, better in {(after > before).float().mean():.0%}; "
                f"on the 4 px rim {on_rim:.3f}, chance {rim.float().mean():.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
