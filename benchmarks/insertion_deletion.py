"""Insertion and deletion over as many bare forwards as they must do, and beside torchcam; ratios within one run.

uv run --group oracles benchmarks/insertion_deletion.py [--network resnet18] [--size 224] [--batches 1 4] [--repeats 3]

Both take 112 steps of the same maps, towards the same blurred images, with as many masked images per forward.
"""

import argparse
import os
from contextlib import nullcontext

import torch
import torchcam
import torchvision
from conditions import conditions, seconds
from torchcam.metrics import DeletionInsertionMetric

from livecam.core.baselines import baseline_images
from livecam.metrics.insertion_deletion import InsertionDeletion
from livecam.runtime.progress import no_progress

CHUNK = 32
STEPS = 112


class Given:
    """torchcam's interface of an extractor, around maps that are there already."""

    def __init__(self, model: torch.nn.Module, maps: torch.Tensor) -> None:
        self.model, self.maps = model, maps

    def __call__(self, class_idx: object = None, scores: object = None) -> list[torch.Tensor]:
        """The maps, whatever is asked."""
        return [self.maps]

    def fuse_cams(self, cams: list[torch.Tensor]) -> torch.Tensor:
        """The only one."""
        return cams[0]

    def _hooks_off(self) -> nullcontext:
        return nullcontext()


def main() -> None:
    """Print one line per implementation and batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = torchvision.models.get_model(args.network, weights=None).eval().to(device)
    step = -(-(args.size**2) // STEPS)
    metric = InsertionDeletion(step=step, internal_batch_size=CHUNK)
    print(f"{args.network}, {args.size} px, {step} pixels per step, {CHUNK} images per forward")
    print(conditions(torchcam))

    for count in args.batches:
        images = torch.randn(count, 3, args.size, args.size, device=device)
        maps = torch.rand(count, args.size, args.size, device=device)
        targets = torch.arange(count, device=device)
        forwards = 2 * -(-(args.size**2) // step) * count
        batch = images[torch.arange(CHUNK) % count]

        def bare(batch: torch.Tensor = batch, forwards: int = forwards) -> None:
            with torch.inference_mode():
                for start in range(0, forwards, CHUNK):
                    net(batch[: min(CHUNK, forwards - start)])

        def ours(images: torch.Tensor = images, targets: torch.Tensor = targets, maps: torch.Tensor = maps) -> None:
            with no_progress():
                metric.per_image(net, images, targets, maps).cpu()

        def theirs(images: torch.Tensor = images, targets: torch.Tensor = targets, maps: torch.Tensor = maps) -> None:
            found = DeletionInsertionMetric(
                Given(net, maps),
                lambda logits: logits.softmax(1),
                steps=STEPS,
                baseline=lambda x: baseline_images(x, "blur51"),
                batch_size=CHUNK,
            )
            found.update(images, targets.tolist())

        net(batch)  # everything is warm
        runs = {f"{forwards} bare forwards": bare, "livecam": ours, "torchcam": theirs}
        # In turns: what else the machine does comes and goes.
        rounds = [[seconds(run) for run in runs.values()] for _ in range(args.repeats)]
        best = [min(times) for times in zip(*rounds)]
        print(f"batch of {count}, best of {args.repeats}; load {os.getloadavg()[0]:.1f}")
        for name, spent in zip(runs, best):
            print(f"  {name:22} {spent / best[0]:5.2f}   {spent:.2f} s", flush=True)


if __name__ == "__main__":
    main()
