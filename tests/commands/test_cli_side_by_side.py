"""``explain.py maps`` with several networks, in process: a U-Net, its ablated twin and a network without a GAP head."""

import numpy as np
import pytest
import torch
from helpers.checkpoints import save_unet
from helpers.toys import build
from PIL import Image
from test_cli import refused

from livecam import cli
from livecam.models import build_model

NETWORKS = ("unet", "unet_no_skips", "torchvision_squeezenet1_1")
SQUEEZENET = ["--model", "torchvision/squeezenet1_1", "--weights", "squeezenet.pth", "--num_classes", "4"]
SMALL = ["--image_size", "64"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with two U-Nets, weights of a SqueezeNet, and photos of which one cannot be read."""
    monkeypatch.chdir(tmp_path)
    save_unet(tmp_path / "runs" / "full" / "checkpoints" / "last.ckpt")
    save_unet(tmp_path / "runs" / "twin" / "checkpoints" / "last.ckpt", skips="drop", image_size=48, resize="crop")
    torch.save(build(build_model, "torchvision/squeezenet1_1", 4).state_dict(), "squeezenet.pth")
    (tmp_path / "photos").mkdir()
    noise = np.random.default_rng(0)
    for name, size in (("b", (60, 90, 3)), ("a", (50, 40, 3)), ("d", (64, 64, 3))):
        Image.fromarray(noise.integers(0, 255, size, np.uint8)).save(tmp_path / "photos" / f"{name}.png")
    (tmp_path / "photos" / "c.jpg").write_bytes(b"no picture")
    return tmp_path


def run(name: str) -> str:
    return f"runs/{name}/checkpoints/last.ckpt"


def maps(*args: str, out: str = "out") -> dict[str, np.ndarray]:
    cli.explain(["maps", "--out", out, *args])
    return dict(np.load(f"{out}/maps.npz"))


def test_three_networks_side_by_side(here, capsys, caplog):
    both = ["--checkpoint", run("full"), run("twin")]
    methods = ["--methods", "gradcam,cam", "--batch_size", "2"]
    found = maps("photos", *both, *SQUEEZENET, *SMALL, *methods)
    told = capsys.readouterr()
    assert "3 photos explained, 1 unreadable skipped" in told.out
    # Said once, although there were two batches.
    assert caplog.text.count("'cam' failed and is left out. CAM needs a head of global average") == 1
    assert [name.rpartition("/")[2] for name in found["files"]] == ["a.png", "b.png", "d.png"]
    sizes = {f"{network}.gradcam": (3, side, side) for network, side in zip(NETWORKS, (32, 48, 64))}
    sizes |= {"unet.cam": (3, 32, 32), "unet_no_skips.cam": (3, 48, 48), "files": (3,)}
    sizes |= {f"{network}.{fact}": (3,) for network in NETWORKS for fact in ("target", "probability")}
    assert {name: array.shape for name, array in found.items()} == sizes

    # Alone, each network finds the same and draws the same.
    singles = ([*both[:2], *methods], [both[0], both[2], *methods], [*SQUEEZENET, *SMALL, "--methods", "gradcam"])
    for network, options in zip(NETWORKS, singles):
        alone = maps("photos", *options, out=network)
        for name in set(alone) - {"files"}:
            np.testing.assert_allclose(alone[name], found[f"{network}.{name}"], atol=1e-5)
        for overlay in (here / network / "overlays").iterdir():
            photo, _, method = overlay.stem.partition("_")
            twin = here / "out" / "overlays" / f"{photo}_{network}_{method}.png"
            apart = np.asarray(Image.open(overlay)).astype(int) - np.asarray(Image.open(twin))
            assert np.abs(apart).max() <= 1
    assert len(list((here / "out" / "overlays").iterdir())) == 3 * 5


def test_the_grid_shows_every_map_on_its_own_networks_view(here):
    maps("photos/b.png", "--checkpoint", run("full"), run("twin"), "--methods", "cam")
    grid = np.asarray(Image.open("out/b.png"))
    # 48 px and 32 px meet at 192 px, a whole factor for both: their pixels can be looked up.
    tall, columns = 192, []
    for network in ("unet", "unet_no_skips"):
        small = np.asarray(Image.open(f"out/overlays/b_{network}_cam.png"))
        large = small.repeat(tall // len(small), 0).repeat(tall // len(small), 1)
        windows = [
            (y, x)
            for y, x in np.argwhere((grid[: -tall + 1, : -tall + 1] == large[0, 0]).all(2))
            if (grid[y : y + tall, x : x + tall] == large).all()
        ]
        columns += windows
    (top, left), (same, right) = columns
    assert top == same and right >= left + tall
    photo = np.asarray(Image.open("photos/b.png").resize((240, 160), Image.Resampling.LANCZOS))
    assert (grid[top : top + 160, 12 : 12 + 240] == photo).all()


def test_the_page_says_what_is_compared(here):
    maps("photos", "--checkpoint", run("full"), "--checkpoint", run("twin"), "--target", "cross")
    page = (here / "out" / "index.html").read_text()
    assert "<h1>Side by side: unet | unet, no skips</h1>" in page
    assert f"{run('full')} · {run('twin')} · 3 photos · Grad-CAM · class cross" in page
    assert page.count("<img ") == 3 and "unet, no skips: predicted" in page
    assert [page.index(f"photos/{name}.png") for name in "abd"] == sorted(page.index(f"photos/{n}.png") for n in "abd")


def test_a_class_is_looked_up_in_every_network(here, capsys):
    save_unet(here / "other.ckpt", class_names=["ring", "cross", "star"], skips="zero")
    both = ["photos", "--checkpoint", run("full"), "other.ckpt"]
    found = maps(*both, "--target", "cross")
    assert found["unet.target"].tolist() == [2] * 3 and found["unet_skips_zeroed.target"].tolist() == [1] * 3
    assert maps(*both, "--target", "1")["unet.target"].tolist() == [1] * 3
    told = refused(capsys, "maps", *both, "--target", "disc", command=cli.explain)
    assert told.startswith("unet, skips zeroed has no class 'disc'.")
    told = refused(capsys, "maps", *both, "--target", "3", command=cli.explain)
    assert told == "Class 3 is out of range: unet, skips zeroed has 3 classes, 0 to 2."


def test_a_network_without_any_fitting_method_keeps_its_column(here):
    found = maps("photos/a.png", "--checkpoint", run("full"), *SQUEEZENET, *SMALL, "--methods", "cam")
    assert "torchvision_squeezenet1_1.cam" not in found
    assert 0 < found["torchvision_squeezenet1_1.probability"][0] <= 1
    grid = np.asarray(Image.open("out/a.png"))
    assert (grid == (240, 240, 238)).all(2).sum() > 150 * 150


def test_where_no_method_fits_any_network_it_is_an_error(here, capsys):
    torch.save(build(build_model, "torchvision/squeezenet1_0", 4).state_dict(), "older.pth")
    older = ["torchvision/squeezenet1_0", "--weights", "squeezenet.pth", "older.pth"]
    args = ["photos", *SQUEEZENET[:2], *older, *SQUEEZENET[4:], *SMALL, "--methods", "cam"]
    assert "CAM needs a head" in refused(capsys, "maps", *args, command=cli.explain)
    alone = ["photos", *SQUEEZENET, *SMALL, "--methods", "cam"]
    assert "CAM needs a head" in refused(capsys, "maps", *alone, command=cli.explain)


def test_nothing_readable(here, capsys):
    args = ["photos/c.jpg", "--checkpoint", run("full"), run("twin")]
    assert "None of the 1 photos could be read." in refused(capsys, "maps", *args, command=cli.explain)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (
            ["--checkpoint", run("full"), run("twin"), "photos/a.png"],
            "No photo or folder is left: put the photos first",
        ),
        (["photos/b.png", "--checkpoint", run("full"), "photos/a.png"], "photos/a.png is a picture, but --checkpoint"),
        (["photos/b.png", "--checkpoint", run("full"), "photos"], "photos is a folder, but --checkpoint"),
        (["photos", "--model", "unet", "unet/resnet18", "unet", "--weights", "a", "b"], "--model names 3 networks and"),
        (["photos", "--checkpoint", run("full"), "--weights", "pretrained"], "a checkpoint brings its own"),
        (["photos", "--checkpoint", run("full"), run("full")], "is given twice"),
        (["photos", "--checkpoint", run("full"), "none.ckpt"], "No checkpoint at none.ckpt"),
        (["photos", "--checkpoint", run("full"), "--model", "unet"], "add --weights pretrained"),
        (["photos", "--chekpoint", run("full")], "There is no option --chekpoint"),
    ],
)
def test_wrong_command_lines(here, capsys, args, sentence):
    assert sentence in refused(capsys, "maps", *args, command=cli.explain)


def test_options_before_photos_need_a_mark(here):
    found = maps("--checkpoint", run("full"), run("twin"), "--", "photos/a.png")
    assert len(found["files"]) == 1


def test_help_tells_what_an_option_takes(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.explain(["maps", "--help"])
    assert stop.value.code in (0, None)
    told = " ".join(capsys.readouterr().out.split())
    assert "--checkpoint CHECKPOINT [CHECKPOINT ...] Checkpoints of train.py, one or several." in told
    assert "Photos, or folders of photos." in told
