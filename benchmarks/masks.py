"""What optimized masks cost over the bare passes that they must do; ratios within one run.

uv run benchmarks/masks.py [--network mobilenet_v2] [--size 224] [--batch 8] [--iterations 4]

Bare passes: as many forwards and backwards to the pixels, in batches of the same size, and as many forwards as the line
search took, in batches of all images.
"""

import argparse

import torch
import torchvision
from conditions import conditions, seconds
from torch import nn

from livecam.explain import EMP, IGOS, SIGCAM, Explainer, explain, structure_of
from livecam.runtime.memory import auto_batch_size


def bare(net: nn.Module, images: torch.Tensor, forwards: int, both: int, internal_batch_size: int) -> None:
    """So many images forwards, and others forwards and backwards to the pixels."""
    with torch.inference_mode():
        for start in range(0, forwards, len(images)):
            net(images[: forwards - start]).softmax(1)
    for start in range(0, both, internal_batch_size):
        leaf = images[
            torch.arange(min(internal_batch_size, both - start), device=images.device) % len(images)
        ].requires_grad_(True)
        torch.autograd.grad(net(leaf).softmax(1)[:, 0].sum(), leaf)


def main() -> None:
    """Print one line per method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="mobilenet_v2")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = torchvision.models.get_model(args.network, weights=None).eval().to(device).requires_grad_(False)
    net = net.to(memory_format=torch.channels_last)
    images = torch.randn(args.batch, 3, args.size, args.size, device=device)
    targets = torch.zeros(args.batch, dtype=torch.long, device=device)
    structure_of(net, images)
    few = IGOS(args.iterations)
    cases: list[tuple[Explainer, int, int]] = [
        (EMP(20 * args.iterations), 1, 20 * args.iterations),
        (few, 1, few.points * few.iterations),
        (SIGCAM(optimizer=few, warmup=1), 2, few.points * few.iterations + 1),
    ]
    print(conditions(torchvision))
    print(f"{args.network}, {args.batch} images of {args.size} px, best of {args.repeats}")
    print(f"{'method':8} {'forwards':>8} {'and backwards':>14} {'s / image':>10} {'over bare':>10}")
    for explainer, forwards, both in cases:
        count = (1 + forwards) * args.batch
        history = explain(net, images, [explainer], targets)[explainer.name].details["history"]
        if not isinstance(explainer, EMP):
            tries = 1 + (history["step"] / few.step).log() / torch.tensor(few.decay).log()
            count += round(float(tries.sum()))
        # Adam's steps come one after the other.
        internal_batch_size = args.batch if isinstance(explainer, EMP) else auto_batch_size(net, images, backward=True)

        def passes(count: int = count, both: int = both, internal_batch_size: int = internal_batch_size) -> None:
            bare(net, images, count, both * args.batch, internal_batch_size)

        passes()
        base = seconds(passes, args.repeats)
        ours = seconds(lambda e=explainer: explain(net, images, [e], targets), args.repeats)
        seconds_each = ours / args.batch
        print(f"{explainer.label:8} {count / args.batch:8.1f} {both:14d} {seconds_each:10.2f} {ours / base:10.2f}")


if __name__ == "__main__":
    main()
