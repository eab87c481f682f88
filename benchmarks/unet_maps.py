"""Time and peak memory of maps at full resolution on both U-Nets; every case runs in a process of its own.

uv run benchmarks/unet_maps.py [--size 512] [--internal_batch_size 8]
"""

import argparse
import resource
import subprocess
import sys

import torch
from conditions import conditions, seconds

from livecam.explain import ScoreCAM, by_name, explain
from livecam.models import build_model
from livecam.runtime.progress import no_progress

NETWORKS = {"unet": {"width": 32}, "unet/resnet18": {}}
METHODS = ("cam", "gradcam", "gradcam_pp", "scorecam")


def peak() -> float:
    """Most memory this process ever had, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def case(network: str, skips: str, method: str, size: int, internal_batch_size: int) -> None:
    """Print one line."""
    torch.manual_seed(0)
    net = build_model(network, 10, skips=skips, **NETWORKS[network]).eval()
    image = torch.randn(1, 3, size, size)
    before = peak()
    with torch.inference_mode():
        bare = seconds(lambda: net(image))
    alone = peak()
    explainer = ScoreCAM(internal_batch_size=internal_batch_size) if method == "scorecam" else by_name(method)
    with no_progress():
        spent = seconds(lambda: explain(net, image, [explainer], 0))
        shape = tuple(explain(net, image, [explainer], 0)[explainer.name].raw.shape[1:])
    assert shape == (size, size)
    print(
        f"{network:14} {skips:7} {method:11} {size} px  {spent:7.2f} s  peak {peak():5.2f} GiB, of which livecam and "
        f"network {before:.2f} and one bare forward {alone - before:.2f} ({bare:.2f} s)",
        flush=True,
    )


def main() -> None:
    """Run all cases, or the one that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--internal_batch_size", type=int, default=8)
    parser.add_argument("--case", nargs=3)
    args = parser.parse_args()
    if args.case:
        case(*args.case, args.size, args.internal_batch_size)
        return
    print(conditions())
    print(f"Score-CAM runs {args.internal_batch_size} masked images per forward")
    for network in NETWORKS:
        for skips in ("concat", "drop"):
            for method in METHODS:
                settings = ["--size", str(args.size), "--internal_batch_size", str(args.internal_batch_size)]
                subprocess.run([sys.executable, __file__, "--case", network, skips, method, *settings], check=True)


if __name__ == "__main__":
    main()
