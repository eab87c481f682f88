"""Score-CAM against torchcam and pytorch_grad_cam, as ratios over as many bare forwards as the layer has channels.

uv run --group oracles benchmarks/score_cam.py [--model vgg16] [--layer features] [--size 224] [--repeats 1]
"""

import argparse

import pytorch_grad_cam
import torch
import torchcam
import torchvision
from conditions import conditions, seconds
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from livecam.explain import ScoreCAM, explain
from livecam.runtime.progress import no_progress

CHUNK = 32


def main() -> None:
    """Print one line per implementation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="vgg16")
    parser.add_argument("--layer", default="features")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = torchvision.models.get_model(args.model, weights=None).eval().to(device)
    image = torch.randn(1, 3, args.size, args.size, device=device)
    layer = net.get_submodule(args.layer)
    kept = []
    handle = layer.register_forward_hook(lambda module, inputs, output: kept.append(output))
    with torch.inference_mode():
        net(image)
    handle.remove()
    channels = kept[0].shape[1]
    batch = image.expand(CHUNK, -1, -1, -1).contiguous()

    def bare() -> None:
        with torch.inference_mode():
            for start in range(0, channels, CHUNK):
                net(batch[: min(CHUNK, channels - start)])

    def ours(**kwargs: object) -> None:
        with no_progress():
            explain(net, image, [ScoreCAM(layer=args.layer, internal_batch_size=CHUNK, **kwargs)], 0)

    def theirs_torchcam() -> None:
        with torchcam.methods.ScoreCAM(net, args.layer, batch_size=CHUNK) as extractor, torch.inference_mode():
            extractor(0, net(image))

    def theirs_grad_cam() -> None:
        with pytorch_grad_cam.ScoreCAM(net, [layer]) as extractor:
            extractor.batch_size = CHUNK
            extractor(image, [ClassifierOutputTarget(0)])

    print(f"{args.model} {args.layer}, {channels} channels, {args.size} px, {CHUNK} images per forward")
    print(conditions(torchcam))
    ours()  # the dry run is remembered, and everything is warm
    unit = seconds(bare, args.repeats)
    print(f"{channels} bare forwards      1.00   {unit:.1f} s")
    runs = {
        "livecam": ours,
        "livecam bf16": lambda: ours(precision="bf16"),
        "torchcam": theirs_torchcam,
        "grad-cam": theirs_grad_cam,
    }
    for name, run in runs.items():
        spent = seconds(run, args.repeats)
        print(f"{name:22} {spent / unit:5.2f}   {spent:.1f} s", flush=True)


if __name__ == "__main__":
    main()
