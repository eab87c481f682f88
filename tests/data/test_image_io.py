import numpy as np
import pytest
from PIL import Image

from livecam.data import image_io as images
from livecam.data.image_io import UnreadableImageError, read_image

# EXIF 2.32, tag 274: which side of the scene the stored row 0 and column 0 are.
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def stored_pixels(scene: np.ndarray, orientation: int) -> np.ndarray:
    """How a camera held as ``orientation`` says stores a scene, from the standard's own words."""
    row, column = SIDES[orientation]
    if row in ("top", "bottom"):
        return scene[:: 1 if row == "top" else -1, :: 1 if column == "left" else -1]
    return scene[:: 1 if column == "top" else -1, :: 1 if row == "left" else -1].swapaxes(0, 1)


def write(path, pixels: np.ndarray, orientation: int | None = None, mode: str | None = None, **options):
    exif = Image.Exif()
    if orientation is not None:
        exif[274] = orientation
    image = Image.fromarray(np.ascontiguousarray(pixels))
    (image.convert(mode) if mode else image).save(path, exif=exif, **options)
    return path


def color(path) -> tuple[int, ...]:
    image = read_image(path)
    assert image.mode == "RGB"
    assert image.size == (6, 4)
    pixels = np.asarray(image)
    assert np.ptp(pixels.reshape(-1, 3), axis=0).max() == 0
    return tuple(int(value) for value in pixels[0, 0])


@pytest.mark.parametrize(
    ("mode", "value", "suffix", "expected"),
    [
        ("RGB", (10, 20, 30), "png", (10, 20, 30)),
        ("L", 100, "png", (100, 100, 100)),
        ("1", 1, "png", (255, 255, 255)),
        ("LA", (0, 255), "png", (0, 0, 0)),
        ("LA", (0, 51), "png", (204, 204, 204)),
        ("RGBA", (200, 0, 0, 255), "png", (200, 0, 0)),
        ("RGBA", (200, 0, 0, 0), "png", (255, 255, 255)),
        ("RGBA", (255, 0, 0, 102), "webp", (255, 153, 153)),
        ("CMYK", (0, 255, 255, 0), "jpg", (255, 0, 0)),
        ("CMYK", (0, 0, 0, 255), "jpg", (0, 0, 0)),
        ("CMYK", (255, 0, 0, 0), "tif", (0, 255, 255)),
        ("YCbCr", (76, 85, 255), "tif", (255, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb(tmp_path, mode, value, suffix, expected):
    path = tmp_path / f"photo.{suffix}"
    Image.new(mode, (6, 4), value).save(path, **({"lossless": True} if suffix == "webp" else {}))
    assert np.allclose(color(path), expected, atol=3 if suffix in ("jpg", "tif") else 1)


@pytest.mark.parametrize(("stored", "expected"), [(0, 0), (200 * 257, 200), (65535, 255), (1000, 4)])
@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, stored, expected, suffix):
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(np.full((4, 6), stored, np.uint16)).save(path)
    assert color(path) == (expected,) * 3


def test_a_palette_is_looked_up_and_its_transparent_entry_is_white(tmp_path):
    image = Image.new("P", (6, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.save(tmp_path / "opaque.png")
    image.save(tmp_path / "clear.png", transparency=1)
    image.save(tmp_path / "clear.gif", transparency=1)
    assert color(tmp_path / "opaque.png") == (10, 200, 30)
    assert color(tmp_path / "clear.png") == (255, 255, 255)
    assert color(tmp_path / "clear.gif") == (255, 255, 255)


def test_a_transparent_color_is_white(tmp_path):
    Image.new("RGB", (6, 4), (1, 2, 3)).save(tmp_path / "key.png", transparency=(1, 2, 3))
    assert color(tmp_path / "key.png") == (255, 255, 255)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("orientation", SIDES)
def test_orientation_is_applied(tmp_path, orientation, suffix):
    scene = np.zeros((16, 32, 3), np.uint8)
    scene[:8, :8, 0] = 255
    scene[8:, :16, 1] = 255
    path = write(tmp_path / f"photo.{suffix}", stored_pixels(scene, orientation), orientation)
    shown = np.asarray(read_image(path)).astype(int)
    assert shown.shape == scene.shape
    assert np.abs(shown - scene).mean() < 12


# Pillow's own warning about such files.
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\x00\x00no tags at all", b"Exif\x00\x00II*\x00\xff\xff\xff\xff"])
def test_broken_metadata_does_not_cost_the_photo(tmp_path, exif):
    Image.new("RGB", (6, 4), "white").save(tmp_path / "photo.jpg", exif=exif)
    assert color(tmp_path / "photo.jpg") == (255, 255, 255)


def test_an_unknown_orientation_leaves_the_photo_alone(tmp_path):
    scene = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    assert np.array_equal(np.asarray(read_image(write(tmp_path / "photo.png", scene, 9))), scene)


def bad_files(folder):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    whole = write(folder / "whole.jpg", noise).read_bytes()
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("not a photo")
    (folder / "cut_header.jpg").write_bytes(whole[:20])
    (folder / "cut_off.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "script.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    Image.fromarray(np.zeros((4, 6), np.float32)).save(folder / "float.tif")
    (folder / "folder.jpg").mkdir()
    return ["empty.jpg", "text.jpg", "cut_header.jpg", "cut_off.jpg", "script.jpg", "float.tif", "folder.jpg", "no.jpg"]


def test_every_unreadable_file_is_named(tmp_path):
    for name in bad_files(tmp_path):
        with pytest.raises(UnreadableImageError, match="Cannot read the image") as caught:
            read_image(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
    with pytest.raises(UnreadableImageError, match="truncated"):
        read_image(tmp_path / "cut_off.jpg")
    with pytest.raises(UnreadableImageError, match="no known image format"):
        read_image(tmp_path / "script.jpg")
    with pytest.raises(UnreadableImageError, match="convert them to 8 or 16 bits"):
        read_image(tmp_path / "float.tif")


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    Image.new("RGB", (8, 8)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 31)
    with pytest.raises(UnreadableImageError, match=r"bomb\.png.*decompression bomb"):
        read_image(tmp_path / "bomb.png")


def a_scene() -> Image.Image:
    """Edges, slopes and noise, where decoders that round or smooth color differently would differ."""
    noise = np.random.default_rng(0).integers(0, 60, (45, 67, 3))
    slope = np.linspace(0, 190, 67)[None, :, None] * np.array([1, 0.5, 0.2])
    slope[:, 20:30] = (0, 190, 20)
    return Image.fromarray((slope + noise).astype(np.uint8))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options",
    [
        *({"subsampling": kind} for kind in range(3)),
        {"progressive": True},
        {"quality": 5},
        {"restart_marker_blocks": 3},
    ],
)
def test_the_fast_decoder_gives_pillows_pixels(tmp_path, monkeypatch, mode, options):
    path = tmp_path / "photo.jpg"
    a_scene().convert(mode).save(path, **options)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    # Pillow would have to go through here.
    monkeypatch.setattr(images, "_to_rgb", None)
    assert np.array_equal(np.asarray(read_image(path)), expected)


def test_other_jpegs_go_to_pillow(tmp_path, monkeypatch):
    a_scene().convert("CMYK").save(tmp_path / "ink.jpg")
    a_scene().save(tmp_path / "really.jpg", format="PNG")
    a_scene().save(tmp_path / "refused.jpg")
    # Pillow takes a file without an end marker where all pixels are there, the fast decoder does not.
    whole = (tmp_path / "refused.jpg").read_bytes()
    (tmp_path / "refused.jpg").write_bytes(whole[:-2] + bytes(50))
    for name in ("ink.jpg", "really.jpg", "refused.jpg"):
        with Image.open(tmp_path / name) as image:
            expected = np.asarray(image.convert("RGB"))
        assert np.array_equal(np.asarray(read_image(tmp_path / name)), expected), name


def test_a_bomb_is_refused_before_any_decoder_runs(tmp_path, monkeypatch):
    Image.new("RGB", (8, 8)).save(tmp_path / "bomb.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 31)
    monkeypatch.setattr(images, "decode_jpeg", lambda *args, **given: pytest.fail("it was decoded"))
    with pytest.raises(UnreadableImageError, match=r"bomb\.jpg.*decompression bomb"):
        read_image(tmp_path / "bomb.jpg")
