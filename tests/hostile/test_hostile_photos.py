"""Photos of a messy or malicious disk: read where they can be, refused in a sentence, never a hang or a full memory."""

import os
import resource
import struct
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.checkpoints import save_unet
from hostile_files import photo, png
from PIL import Image
from torchvision import tv_tensors

from livecam import cli
from livecam.core.normalization import IMAGENET
from livecam.data import ImageFolderData
from livecam.data.image_io import UnreadableImageError, read_image
from livecam.data.transforms import eval_transform, train_transform

READ = {
    "1x1": png(1, 1, 1),
    "10000x10": png(10_000, 10, 10),
    "10x10000": png(10, 10_000, 10_000),
    "65535x1": png(65_535, 1, 1),
    "1x65535": png(1, 65_535, 65_535),
    "2000000x1": png(2_000_000, 1, 1),
}
REFUSED = {
    "0 bytes": (b"", "no known image format"),
    "bomb": (png(2**31 - 1, 2**31 - 1), "decompression bomb"),
    "bomb of 20000 px": (png(20_000, 20_000, 1), "decompression bomb"),
    "no pixels": (png(9, 9), "truncated"),
    "no width": (png(0, 9), ""),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", "no known image"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", "no known image format"),
    "pickle": (b"\x80\x04cos\nsystem\n.", "no known image format"),
}


@pytest.fixture
def bounded_memory():
    """Two gigabytes more than now, so that what asks for more fails here instead of filling the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 2 * 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("kind", READ)
def test_thin_and_tiny_photos_become_input(tmp_path, kind, bounded_memory):
    (tmp_path / "x.jpg").write_bytes(READ[kind])
    stored = tv_tensors.Image(torch.from_numpy(np.asarray(read_image(tmp_path / "x.jpg")).copy()).permute(2, 0, 1))
    for prepare in (
        eval_transform(224, IMAGENET),
        eval_transform(224, IMAGENET, "stretch"),
        train_transform(224, IMAGENET),
    ):
        image = prepare(stored)
        assert image.shape == (3, 224, 224) and image.isfinite().all()


def test_masks_of_trimmed_photos_are_trimmed_alike(bounded_memory):
    pixels = torch.zeros(3, 4, 4000, dtype=torch.uint8)
    pixels[:, :, 1999:2001] = 255
    mask = tv_tensors.Mask((pixels[:1] > 0).byte())
    image, mask = eval_transform(224, IMAGENET)(tv_tensors.Image(pixels), mask)
    bright = image[0] > (image[0].min() + image[0].max()) / 2
    assert torch.equal(bright, mask[0].bool()) and mask.float().mean() == pytest.approx(128 / 224)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_photo_is_named(tmp_path, kind, bounded_memory):
    content, why = REFUSED[kind]
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=f"Cannot read the image .*{why}"):
        read_image(tmp_path / "x.jpg")


@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_what_is_no_file_is_not_waited_for(tmp_path, kind):
    path = tmp_path / "x.jpg"
    if kind == "pipe":
        os.mkfifo(path)
        # Whoever opens it all the same is let go after a while, and fails.
        threading.Timer(5, lambda: os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))).start()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        import socket

        socket.socket(socket.AF_UNIX).bind(str(path))
    with pytest.raises(UnreadableImageError, match=r"x\.jpg: it is a pipe or a device, not a file\.$"):
        read_image(path)


def test_a_data_set_with_a_pipe_is_refused_at_once(tmp_path):
    for name in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"):
        photo(tmp_path / name)
    os.mkfifo(tmp_path / "dog" / "3.png")
    with pytest.raises(ValueError, match=r"dog/3\.png is a pipe or a device, which no data set holds: remove it\.$"):
        ImageFolderData(str(tmp_path), num_workers=0)


def odd_kinds(folder):
    """Files of every odd kind: name -> whether it can be read."""
    noise = np.random.default_rng(0).integers(0, 255, (20, 24, 3), np.uint8)
    color = Image.fromarray(noise)
    color.convert("P").save(folder / "moving.gif", save_all=True, append_images=[color.rotate(9).convert("P")] * 3)
    Image.fromarray(noise[:, :, 0].astype(np.uint16) * 257).save(folder / "deep.png")
    color.convert("CMYK").save(folder / "ink.jpg")
    color.convert("P").save(folder / "clear.png", transparency=bytes(range(256)))
    color.save(folder / "exif.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\xff\xff\x06\0\0\0")
    color.save(folder / "icc.jpg", icc_profile=b"\xff" * 5000)
    Image.fromarray(np.full((9, 9), np.nan, np.float32)).save(folder / "nan.tif")
    color.save(folder / "cut.jpg", quality=95)
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:700])
    bmp = folder / "bomb.bmp"
    color.save(bmp)
    head = bytearray(bmp.read_bytes())
    head[18:26] = struct.pack("<ii", 2**31 - 1, -(2**31))
    bmp.write_bytes(head)
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "folder.jpg").mkdir()
    for name, content in (("empty.jpg", b""), ("thin.png", READ["10000x10"]), ("one.png", READ["1x1"])):
        (folder / name).write_bytes(content)
    bad = {"nan.tif", "cut.jpg", "bomb.bmp", "gone.jpg", "empty.jpg"}
    return {path.name: path.name not in bad for path in folder.iterdir() if not path.is_dir()}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_training_counts_what_it_cannot_read(tmp_path):
    kinds = {}
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        kinds |= odd_kinds(tmp_path / name)
        photo(tmp_path / name / "folder.jpg" / "inside.png")
    data = ImageFolderData(str(tmp_path), image_size=16, batch_size=4, num_workers=0, max_unreadable=20)
    for loader in (data.train_dataloader(), data.val_dataloader()):
        for batch in loader:
            assert batch["image"].shape[1:] == (3, 16, 16) and batch["image"].isfinite().all()
    refused = sorted(path for part in data.sets.values() for path in part.unreadable_files)
    assert refused == sorted(f"{folder}/{name}" for folder in ("cat", "dog") for name in kinds if not kinds[name])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_maps_names_what_it_cannot_read_and_explains_the_rest(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    kinds = odd_kinds(tmp_path / "photos")
    os.mkfifo(tmp_path / "photos" / "pipe.png")
    kinds["pipe.png"] = False
    cli.explain(["maps", "photos", "--checkpoint", save_unet(tmp_path / "net.ckpt"), "--device", "cpu"])
    told = capsys.readouterr()
    skipped = [line for line in told.err.splitlines() if line.startswith("skipped: ")]
    assert len(skipped) == sum(not read for read in kinds.values())
    for name, read in kinds.items():
        assert read != any(f"photos/{name}: " in line for line in skipped)
    read = sum(kinds.values())
    assert f"{read} photos explained, {len(skipped)} unreadable skipped" in told.out
    assert len(list((tmp_path / "explanations").glob("*.png"))) == read


def test_a_photo_that_may_not_be_read_is_named():
    if os.geteuid() != 0:
        pytest.skip("only root can give its rights up, and take them back")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = photo(Path(folder) / "x.png")
        path.chmod(0)
        try:
            os.seteuid(65534)
            with pytest.raises(UnreadableImageError, match=r"x\.png: Permission denied\.$"):
                read_image(path)
        finally:
            os.seteuid(0)
