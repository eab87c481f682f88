"""Why a CPU takes fewer images at a time than memory holds: time and page faults per image by batch size.

uv run benchmarks/chunks.py [--network mobilenet_v2] [--size 224] [--batches 2 4 8 16 32] [--images 64]

The time is that of the process's own cores, so that whatever else the machine does is left out.
"""

import argparse
import resource
import time

import torch
import torchvision
from conditions import conditions

from livecam.runtime.memory import auto_batch_size


def main() -> None:
    """Print one line per batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="mobilenet_v2")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batches", type=int, nargs="+", default=[2, 4, 8, 16, 32])
    parser.add_argument("--images", type=int, default=64)
    args = parser.parse_args()
    net = torchvision.models.get_model(args.network, weights=None).eval()
    images = torch.randn(max(args.batches), 3, args.size, args.size)
    print(conditions(torchvision))
    print(f"{args.network} at {args.size} px; livecam takes {auto_batch_size(net, images)} images at a time")
    for batch in args.batches:
        rounds = max(1, args.images // batch)
        with torch.inference_mode():
            net(images[:batch])
            start, faults = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(rounds):
                net(images[:batch])
        spent = (time.process_time() - start) / (rounds * batch)
        faults = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults) / (rounds * batch)
        print(f"{batch:3} at a time  {1000 * spent:6.1f} ms of a core per image  {faults:7.0f} page faults")


if __name__ == "__main__":
    main()
