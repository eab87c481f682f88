"""What live explanations add to a validation: the activation family over the whole set and a gallery, over none.

uv run benchmarks/live_validation.py [--images 1024] [--batch 32] [--repeats 3] [--nets torchvision/resnet50=224 ...]

Images lie in memory, so that no loader hides what explanations cost. Validations with and without take turns.
"""

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from io import StringIO

import torch
from conditions import conditions
from lightning import Trainer
from torch.utils.data import DataLoader, Dataset

from livecam.callbacks import ExplanationGallery, ExplanationScores
from livecam.report.html.logger import HTMLLogger
from livecam.training.classifier import Classifier

FAMILY = ("cam", "gradcam", "gradcam_pp", "xgradcam", "layercam", "wgradcam")
# By the size of their images: a U-Net of 32 channels takes a CPU minutes at 224 px.
NETS = {"torchvision/resnet50": 224, "unet": 112}
KINDS = ("plain", "scores and gallery")


class Squares(Dataset):
    """Noise with a brighter square, which is the mask; a few dozen images that come again and again."""

    def __init__(self, count: int, size: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(64, 3, size, size, generator=generator)
        self.masks = torch.zeros(64, size, size, dtype=torch.bool)
        self.masks[:, size // 4 : size // 2, size // 4 : size // 2] = True
        self.images += self.masks[:, None]
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        turn = index % len(self.images)
        return {
            "image": self.images[turn],
            "label": index % 10,
            "mask": self.masks[turn],
            "has_mask": True,
            "index": index,
        }


def callbacks_of(kind: str) -> list:
    """What watches: nothing, or scores of the whole set and eight samples."""
    return [] if kind == "plain" else [ExplanationScores(FAMILY), ExplanationGallery(FAMILY, samples=8)]


def validation(net: Classifier, loader: DataLoader, kind: str) -> float:
    """Seconds of one validation, whose tables nobody needs here."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        trainer = Trainer(
            logger=HTMLLogger(folder),
            callbacks=callbacks_of(kind),
            devices=1,
            accelerator="auto",
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        start = time.perf_counter()
        trainer.validate(net, loader, verbose=False)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - start


def rows(nets: Mapping[str, int], images: int, batch: int, repeats: int) -> Iterator[dict]:
    """Measure networks by the size of their images; one row for each and each kind of watching."""
    for name, size in nets.items():
        torch.manual_seed(0)
        net = Classifier(model=name, num_classes=10).eval()
        loader = DataLoader(Squares(images, size), batch, num_workers=0)
        for kind in KINDS:
            validation(net, DataLoader(Squares(2 * batch, size), batch), kind)
        turns = [[validation(net, loader, kind) for kind in KINDS] for _ in range(repeats)]
        for kind, seconds in zip(KINDS, zip(*turns)):
            ratios = [own / turn[0] for own, turn in zip(seconds, turns)]
            yield {
                "net": name,
                "kind": kind,
                "images": images,
                "batch": batch,
                "size": size,
                "seconds": statistics.median(seconds),
                "ratio": statistics.median(ratios),
                "ratios": ratios,
            }


def main() -> None:
    """Print one line per row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--nets", nargs="+", default=[f"{name}={size}" for name, size in NETS.items()])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print(conditions())
    print(f"{args.images} images in batches of {args.batch}, medians of {args.repeats}")
    nets = {name: int(size) for name, size in (net.split("=") for net in args.nets)}
    for row in rows(nets, args.images, args.batch, args.repeats):
        what = f"{row['net']} {row['size']} px, {row['kind']}"
        spread = f"{min(row['ratios']):.3f} to {max(row['ratios']):.3f}"
        print(f"{what:50} {row['seconds']:7.1f} s   {row['ratio']:.3f}   ({spread})", flush=True)


if __name__ == "__main__":
    main()
