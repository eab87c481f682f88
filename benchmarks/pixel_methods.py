"""What methods of pixels cost over the bare passes that they must do, and beside captum; ratios within one run.

uv run --group oracles benchmarks/pixel_methods.py [--network resnet18] [--size 224] [--batch 4]

Bare passes: as many forwards, or forwards and backwards to the pixels, in batches of the same size.
"""

import argparse
from collections.abc import Callable

import captum.attr
import torch
import torchvision
from conditions import conditions, seconds
from torch import nn

from livecam.explain import (
    RISE,
    ContrastiveExcitationBackprop,
    Deconvnet,
    ExcitationBackprop,
    Explainer,
    GuidedBackprop,
    IntegratedGradients,
    Occlusion,
    Saliency,
    SmoothGrad,
    explain,
    structure_of,
)

CHUNK = 32
WINDOWS = 8


def forwards(net: nn.Module, images: torch.Tensor, count: int) -> None:
    """``count`` images forwards, in full chunks."""
    batch = images[torch.arange(CHUNK) % len(images)]
    with torch.inference_mode():
        for _ in range(count // CHUNK):
            net(batch)
        if count % CHUNK:
            net(batch[: count % CHUNK])


def gradients(net: nn.Module, images: torch.Tensor, count: int) -> None:
    """``count`` images forwards and backwards to the pixels."""
    for start in range(0, count, CHUNK):
        leaf = images[torch.arange(min(CHUNK, count - start)) % len(images)].requires_grad_(True)
        torch.autograd.grad(net(leaf)[:, 0].sum(), leaf)


def main() -> None:
    """Print one line per method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = torchvision.models.get_model(args.network, weights=None).eval().to(device).requires_grad_(False)
    images = torch.randn(args.batch, 3, args.size, args.size, device=device)
    targets = torch.zeros(args.batch, dtype=torch.long, device=device)
    plain = torchvision.models.get_model(args.network, weights=None).eval().to(device)
    for module in plain.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    window = args.size // WINDOWS
    structure_of(net, images)

    def theirs(make: Callable[[nn.Module], object], **options: object) -> Callable[[], object]:
        return lambda: make(plain).attribute(images.clone().requires_grad_(True), target=targets, **options)

    tall = (3, window, window)
    cases: list[tuple[Explainer, float, float, Callable[[], object] | None]] = [
        (Saliency(), 0, 1, theirs(captum.attr.Saliency)),
        (GuidedBackprop(), 1, 1, theirs(captum.attr.GuidedBackprop)),
        (Deconvnet(), 1, 1, theirs(captum.attr.Deconvolution)),
        (ExcitationBackprop(), 2, 1, None),
        (ContrastiveExcitationBackprop(), 2, 1, None),
        (SmoothGrad(num_samples=16, internal_batch_size=CHUNK), 1, 16, None),
        (
            IntegratedGradients(16, internal_batch_size=CHUNK),
            2,
            16,
            theirs(captum.attr.IntegratedGradients, n_steps=16, method="riemann_middle", internal_batch_size=CHUNK),
        ),
        (
            Occlusion(window, window, internal_batch_size=CHUNK),
            1 + WINDOWS**2,
            0,
            theirs(
                captum.attr.Occlusion,
                sliding_window_shapes=tall,
                strides=tall,
                perturbations_per_eval=CHUNK // args.batch,
            ),
        ),
        (RISE(64, internal_batch_size=CHUNK), 65, 0, None),
    ]
    print(conditions(torchvision, captum))
    print(f"{args.network}, {args.batch} images of {args.size} px, best of {args.repeats}")
    print(f"{'method':26} {'forwards':>8} {'and backwards':>14} {'over bare':>10} {'captum':>8}")
    for explainer, forward, both, peer in cases:

        def bare(forward: float = forward, both: float = both) -> None:
            forwards(net, images, round(forward * args.batch))
            gradients(net, images, round(both * args.batch))

        bare()  # once unmeasured, or the first method would pay for what is allocated once
        base = seconds(bare, args.repeats)
        ours = seconds(lambda e=explainer: explain(net, images, [e], targets), args.repeats) / base
        other = f"{seconds(peer, args.repeats) / base:8.2f}" if peer else f"{'-':>8}"
        print(f"{explainer.label:26} {forward:8g} {both:14g} {ours:10.2f} {other}")


if __name__ == "__main__":
    main()
