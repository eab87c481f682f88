"""Does the loader keep up with the network? Decoding, each step of the transform, samples, processes, training step.

uv run python benchmarks/loader.py --root FOLDER [--image_size 224] [--workers 0 1 2] [--model torchvision/resnet50]

FOLDER holds photos at any depth. Steps that are compared run in turns over the same photos, one thread each as in a
loader process; figures are medians, ratios are of medians.
"""

import argparse
import io
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import PIL
import torch
import torchvision
from conditions import conditions
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_image, decode_jpeg, read_file
from torchvision.transforms.v2 import functional as F

from livecam.core.normalization import IMAGENET
from livecam.data.folder import files
from livecam.data.image_io import SUFFIXES, UnreadableImageError, read_stored
from livecam.data.photo_dataset import Photo, PhotoDataset
from livecam.data.transforms import eval_transform, train_transform
from livecam.models import build_model


def pillow(path: str) -> torch.Tensor:
    """Decode by Pillow."""
    with Image.open(path) as image:
        return F.pil_to_tensor(image.convert("RGB"))


def draft(path: str, side: int = 256) -> torch.Tensor:
    """Decode by Pillow at a half, quarter or eighth of the size, where that leaves ``side`` pixels."""
    with Image.open(path) as image:
        image.draft("RGB", (side, side))
        return F.pil_to_tensor(image.convert("RGB"))


def torchvision_jpeg(path: str) -> torch.Tensor:
    """Decode by torchvision."""
    return decode_jpeg(read_file(path), mode=ImageReadMode.RGB)


def torchvision_any(path: str) -> torch.Tensor:
    """Decode by torchvision, which looks what it is."""
    return decode_image(path, mode=ImageReadMode.RGB)


def livecam(path: str) -> torch.Tensor:
    """Decode as data sets do: the header by Pillow, plain JPEGs by torchvision, all others by Pillow."""
    return read_stored(path)[0]


def in_turns(actions: dict[str, Callable[[object], object]], items: Sequence[object], repeats: int) -> dict[str, float]:
    """Median milliseconds per item of each action."""
    spent: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(repeats):
        for name, action in actions.items():
            torch.manual_seed(0)
            start = time.perf_counter()
            for item in items:
                action(item)
            spent[name].append((time.perf_counter() - start) / len(items) * 1000)
    return {name: statistics.median(times) for name, times in spent.items()}


def copies(paths: Sequence[str], folder: str, size: tuple[int, int]) -> list[str]:
    """The photos at another size, JPEG of quality 90."""
    made = [os.path.join(folder, f"{size[0]}_{number}.jpg") for number in range(len(paths))]
    for path, copy in zip(paths, made):
        with Image.open(path) as image:
            image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(copy, quality=90)
    return made


def compare_decoders(paths: Sequence[str], folder: str, repeats: int) -> list[str]:
    """Print times and differences at three sizes; returns the photos of the middle one, ImageNet's typical size."""
    print(
        "\nDecoding, ms per photo (over Pillow)            Pillow  torchvision  decode_image      livecam  draft 256 px"
    )
    middle = []
    for name, size in (("as stored", None), ("500 x 375", (500, 375)), ("2000 x 1500", (2000, 1500))):
        some = list(paths) if size is None else copies(paths if size[0] < 1000 else paths[:12], folder, size)
        middle = some if name == "500 x 375" else middle
        actions = {f.__name__: f for f in (pillow, torchvision_jpeg, torchvision_any, livecam, draft)}
        found = in_turns(actions, some, repeats)
        base = found["pillow"]
        figures = "".join(f"{ms:7.2f} ({ms / base:.2f})" for ms in list(found.values())[1:])
        pairs = [(pillow(path).int(), livecam(path).int()) for path in some]
        worst = max(int((a - b).abs().max()) for a, b in pairs)
        print(f"{name:12} {len(some):4} photos, greatest difference {worst}  {base:7.2f}{figures}", flush=True)
        if name == "2000 x 1500":
            prepared = eval_transform(224, IMAGENET)
            whole, halved = (prepared(tv_tensors.Image(read(some[0]))) for read in (livecam, draft))
            apart = 255 * (IMAGENET.to_pixels(whole) - IMAGENET.to_pixels(halved)).abs()
            print(f"  in validation draft changes pixels by {apart.mean():.1f} levels of 255, up to {apart.max():.0f}")
    return middle


def unusual(path: str, folder: str) -> None:
    """Print what the decoders make of files that are not plain JPEGs."""
    with Image.open(path) as image:
        photo = image.convert("RGB")
    exif = Image.Exif()
    exif[274] = 6
    cases = {"turned by EXIF": (photo, {"exif": exif}), "gray": (photo.convert("L"), {})}
    cases |= {"CMYK": (photo.convert("CMYK"), {}), "progressive": (photo, {"progressive": True})}
    whole = io.BytesIO()
    photo.save(whole, "JPEG")
    print("\nOther JPEGs                       Pillow                    torchvision               livecam")
    for name in (*cases, "truncated", "no end marker"):
        file = os.path.join(folder, "case.jpg")
        if name in cases:
            picture, options = cases[name]
            picture.save(file, **options)
        else:
            end = -200 if name == "truncated" else -2
            Path(file).write_bytes(whole.getvalue()[:end] + (b"" if name == "truncated" else bytes(40)))
        told, first = [], None
        for action in (pillow, torchvision_jpeg, livecam):
            try:
                pixels = action(file).int()
                first = pixels if first is None else first
                told.append(f"{tuple(pixels.shape[1:])}, differs by {int((pixels - first).abs().max())}")
            except (OSError, RuntimeError, UnreadableImageError) as error:
                told.append(f"refused, {type(error).__name__}")
        print(f"{name:32}  " + "  ".join(f"{text:24}" for text in told))


def compare_transforms(paths: Sequence[str], size: int, repeats: int) -> None:
    """Print the time of each step."""
    images = [tv_tensors.Image(livecam(path)) for path in paths]
    for part, whole in (("train", train_transform(size, IMAGENET)), ("val", eval_transform(size, IMAGENET))):
        spent = in_turns({"it": whole}, images, repeats)["it"]
        print(f"\nTransform for {part}: {spent:.2f} ms per photo")
        given = images
        for step in whole.transforms:
            spent = in_turns({"it": step}, given, repeats)["it"]
            print(f"  {type(step).__name__:22} {spent:6.2f} ms", flush=True)
            given = [step(image) for image in given]


def samples_per_second(paths: Sequence[str], args: argparse.Namespace) -> float:
    """Print images/s of one process, then of loaders; returns the best of the training loaders."""
    photos = [Photo(os.path.relpath(path, "/"), 0) for path in paths]
    sets = {
        "train": PhotoDataset("/", photos, ["any"], train_transform(args.image_size, IMAGENET)),
        "val": PhotoDataset("/", photos, ["any"], eval_transform(args.image_size, IMAGENET)),
    }
    for name, data in sets.items():
        actions = {
            "it": data.__getitem__,
            "pillow": lambda i, data=data: data.transform(tv_tensors.Image(pillow(paths[i]))),
        }
        spent = in_turns(actions, range(len(data)), args.repeats)
        print(
            f"{name} sample: {spent['it']:.2f} ms, {1000 / spent['it']:.0f} images/s in one process; read by Pillow "
            f"{spent['pillow']:.2f}; ratio {spent['it'] / spent['pillow']:.2f}",
            flush=True,
        )
    best = 0.0
    # Enough batches that filling the queue is no great part.
    several = PhotoDataset("/", photos * (1 + 1500 // len(photos)), ["any"], sets["train"].transform)
    for workers in args.workers:
        loader = DataLoader(several, args.batch, num_workers=workers, collate_fn=several.collate)
        batches = iter(loader)
        next(batches)
        start, count = time.perf_counter(), 0
        for batch in batches:
            count += len(batch["label"])
        rate = count / (time.perf_counter() - start)
        best = max(best, rate)
        print(f"loader with {workers} processes: {rate:.0f} images/s (load {os.getloadavg()[0]:.1f})", flush=True)
    return best


def step_per_second(args: argparse.Namespace) -> float:
    """Images/s of forward, backward and optimizer; print them."""
    cuda = torch.cuda.is_available()
    # A CPU gains nothing from larger batches, and the reader waits.
    count, device = (args.batch, "cuda") if cuda else (min(args.batch, 8), "cpu")
    net = build_model(args.model, 1000).to(device).train()
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    images = torch.randn(count, 3, args.image_size, args.image_size, device=device)
    labels = torch.zeros(count, dtype=torch.long, device=device)
    spent = []
    for _ in range(10 if cuda else 4):
        start = time.perf_counter()
        torch.nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        if cuda:
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - start)
    rate = count / statistics.median(spent[1:])
    print(f"training step of {args.model}, batch of {count}: {rate:.1f} images/s (load {os.getloadavg()[0]:.1f})")
    return rate


def main() -> None:
    """Print all of it, and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--model", default="torchvision/resnet50")
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    root = os.path.realpath(args.root)
    found = [path for path in files(root, root) if os.path.splitext(path)[1].lower() in SUFFIXES]
    paths = found[:: max(1, len(found) // args.photos)][: args.photos]
    print(conditions(torchvision, PIL))
    print(f"{os.cpu_count()} cores; {len(paths)} of {len(found)} photos; images of {args.image_size} px; {args.model}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        typical = compare_decoders(paths, folder, args.repeats)
        unusual(typical[0], folder)
        compare_transforms(typical, args.image_size, args.repeats)
        print("\nSamples and loaders, photos of 500 x 375")
        loaded = samples_per_second(typical, args)
    torch.set_num_threads(threads)
    trained = step_per_second(args)
    verdict = "the loader keeps up" if loaded > trained else "the loader is the bottleneck"
    print(f"\nVerdict: {verdict}: it gives {loaded:.0f} images/s, {loaded / trained:.2g} of what the network takes.")


if __name__ == "__main__":
    main()
