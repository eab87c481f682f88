"""The real command lines, in process."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from livecam import cli
from livecam.core.text import one_sentence

ROOT = Path(__file__).parents[1]


def refused(capsys, *args: str, command=cli.train) -> str:
    with pytest.raises(SystemExit) as stop:
        command(list(args))
    assert stop.value.code == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("error: ")
    return told.removeprefix("error: ")


@pytest.fixture
def trained(config, here):
    cli.train(["fit", "-c", config(), "--run", "first"])
    return next((here / "runs" / "first" / "checkpoints").glob("*.ckpt"))


def test_fit_leaves_page_configuration_and_checkpoint(trained, here):
    folder = here / "runs" / "first"
    assert (folder / "index.html").is_file() and len(list((folder / "media").iterdir())) == 4
    saved = yaml.safe_load((folder / "fit_config.yaml").read_text())
    assert saved["trainer"]["max_epochs"] == 1
    settings = torch.load(trained, weights_only=True)["hyper_parameters"]
    # What the data know is linked to the model, so that explain.py preprocesses as training did.
    assert settings["class_names"] == ["disc", "triangle", "cross", "ring"]
    assert (settings["num_classes"], settings["image_size"], settings["mean"]) == (4, 32, [0.5, 0.5, 0.5])


def test_resume_continues_in_the_same_folder(trained, config, here):
    cli.train(["fit", "-c", config(), "--trainer.max_epochs", "2", "--ckpt_path", str(trained)])
    assert [folder.name for folder in (here / "runs").iterdir()] == ["first"]
    text = (here / "runs" / "first" / "data.js").read_text()
    data = json.loads(text[text.index("{") : text.rindex("}") + 1])
    (gallery,) = data["galleries"]
    assert [entry["step"] for entry in gallery["entries"]] == [0, 1, 3]


def test_a_validation_leaves_the_run_it_looks_at_alone(trained, config, here):
    before = (here / "runs" / "first" / "data.js").read_bytes()
    cli.train(["validate", "-c", config(), "--ckpt_path", str(trained)])
    assert (here / "runs" / "first" / "data.js").read_bytes() == before
    assert len(list((here / "runs").iterdir())) == 2


def test_unknown_layer_in_yaml_is_one_sentence_with_near_matches(config, here, caplog):
    change = set_at(FIRST, {"class_path": "GradCAM", "init_args": {"layer": "botleneck"}})
    with caplog.at_level("WARNING", logger="livecam"):
        cli.train(["fit", "-c", config(change)])
    (told,) = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    assert "has no layer 'botleneck'. Did you mean net.bottleneck" in told.splitlines()[0]


@pytest.mark.parametrize("twin", ["unet", "unet_twin"])
def test_model_pieces_go_with_any_run(twin, here, capsys):
    pieces = ["-c", str(ROOT / "configs" / "folder.yaml"), "-c", str(ROOT / "configs" / "model" / f"{twin}.yaml")]
    with pytest.raises(SystemExit):
        cli.train(["fit", *pieces, "--print_config"])
    model = yaml.safe_load(capsys.readouterr().out)["model"]
    assert model["weights"] is None and model["model_args"]["skips"] == ("concat" if twin == "unet" else "drop")


@pytest.mark.slow
def test_the_demo_learns_and_looks_at_the_shapes(here):
    scores = cli.train(["fit", "-c", str(cli.DEMO), "--trainer.enable_progress_bar", "false"]).trainer.callback_metrics
    assert scores["val/accuracy"] >= 0.95
    assert scores["val/localization_lift/gradcam"] >= 3


def test_validate_and_test(trained, config, here):
    cli.train(["validate", "-c", config(), "--ckpt_path", str(trained), "--run", "second"])
    cli.train(["test", "-c", config(), "--ckpt_path", str(trained), "--run", "third"])


def test_explain_maps_from_a_checkpoint(trained, here, capsys):
    photos = here / "photos"
    photos.mkdir()
    for number in range(3):
        Image.fromarray(np.full((50, 70, 3), 40 * number, np.uint8)).save(photos / f"<b>&{number}.png")
    (photos / "broken.jpg").write_bytes(b"no picture")
    cli.explain(["maps", str(photos), "--checkpoint", str(trained), "--methods", "gradcam,cam", "--out", "out"])
    told = capsys.readouterr()
    assert "3 photos explained, 1 unreadable skipped" in told.out and "broken.jpg" in told.err
    arrays = np.load(here / "out" / "maps.npz")
    assert arrays["gradcam"].shape == arrays["cam"].shape == (3, 32, 32)
    assert [Path(name).name for name in arrays["files"]] == ["<b>&0.png", "<b>&1.png", "<b>&2.png"]
    assert len(list((here / "out").glob("*.png"))) == 3
    assert len(list((here / "out" / "overlays").glob("*_gradcam.png"))) == 3
    page = (here / "out" / "index.html").read_text()
    assert "<b>&" not in page and "&lt;b&gt;&amp;" in page
    assert not list((here / "out").glob(".rows-*"))


def test_one_class_can_be_asked_for(trained, here):
    Image.new("RGB", (40, 40)).save(here / "photo.png")
    cli.explain(["maps", "photo.png", "--checkpoint", str(trained), "--target", "cross", "--out", "out"])
    assert np.load(here / "out" / "maps.npz")["target"].tolist() == [2]


def set_at(path: str, value):
    def change(settings):
        *parents, last = path.split("/")
        for key in parents:
            settings = settings[int(key) if isinstance(settings, list) else key]
        settings[int(last) if isinstance(settings, list) else last] = value

    return change


FIRST = "trainer/callbacks/0/init_args/explainers/0"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (set_at(f"{FIRST}/class_path", "GradCAMM"), "There is no class 'GradCAMM'. Did you mean GradCAM"),
        (set_at(f"{FIRST}/init_args", {"layr": "x"}), "There is no argument 'layr'. Did you mean layer"),
        (set_at("trainer/callbacks/0/class_path", "ExplanationGalery"), "Did you mean ExplanationGallery"),
        (set_at("model/model", "unett"), "Unknown model 'unett'"),
        (set_at("model/model", "torchvision/resnet5"), "Did you mean resnet50"),
        (set_at("model/optimizer", "adamm"), "is not one of adamw, sgd"),
        (set_at("data/class_path", "PlantedShape"), "Did you mean PlantedShapesData"),
        (set_at("data/init_args/num_classes", 99), "2 to 6 classes"),
        (set_at("model/weights", "nowhere/weights.pth"), "nowhere/weights.pth"),
    ],
)
def test_bad_configurations(config, capsys, change, sentence):
    assert sentence in refused(capsys, "fit", "-c", config(change))


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--model.modle", "unet"], "There is no option --model.modle. Did you mean --model.model"),
        (["--model.model", "unet/resnet8", "--model.model_args", "{}"], "Did you mean"),
        (["--model.lr", "fast"], "model.lr"),
        (["--data", "ImageFolderData", "--data.root", "/no/where"], "/no/where"),
    ],
)
def test_bad_command_lines(config, capsys, args, sentence):
    assert sentence in refused(capsys, "fit", "-c", config(), *args)


def test_wrong_commands(here, capsys):
    assert refused(capsys, "fitt").endswith("Did you mean fit?")
    assert "nope.yaml" in refused(capsys, "fit", "-c", "nope.yaml")
    assert refused(capsys, "fit").startswith("Missing: data.")


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["mapz"], "Did you mean maps?"),
        (["maps", "nowhere.jpg", "--model", "unet", "--weights", "x"], "There is no file or folder nowhere.jpg."),
        (["maps", ".", "--model", "unet", "--weights", "x"], "No images found"),
        (["maps", "photo.png"], "either --checkpoint FILE, or --model NAME"),
        (["maps", "photo.png", "--model", "torchvision/resnet18"], "add --weights pretrained"),
        (["maps", "photo.png", "--checkpoint", "none.ckpt"], "No checkpoint at none.ckpt"),
        (["maps", "photo.png", "--checkpoint", "photo.png"], "cannot be read as a checkpoint"),
        (["maps", "photo.png", "--methods", "gradcm", "--model", "unet"], "Did you mean gradcam"),
        (["maps", "photo.png", "--methods", ",", "--model", "unet"], "No method was named"),
        (["maps", "photo.png", "--methods", "cam,cam", "--model", "unet"], "name one otherwise"),
        (["maps", "photo.png", "--batch_size", "0", "--model", "unet"], "batch_size is a whole number from 1, got 0"),
    ],
)
def test_wrong_explain_commands(here, capsys, args, sentence):
    if args[1:2] == ["photo.png"]:
        Image.new("RGB", (40, 40)).save(here / "photo.png")
    assert sentence in refused(capsys, *args, command=cli.explain)


def test_targets_and_methods_that_do_not_fit_the_network(trained, here, capsys):
    Image.new("RGB", (40, 40)).save(here / "photo.png")
    base = ["maps", "photo.png", "--checkpoint", str(trained)]
    assert "Did you mean cross" in refused(capsys, *base, "--target", "kross", command=cli.explain)
    assert "out of range" in refused(capsys, *base, "--target", "7", command=cli.explain)


@pytest.mark.parametrize("name", ["demo.yaml", "dogs_vs_wolves.yaml", "folder.yaml"])
def test_shipped_configurations_parse(name, here, capsys):
    parser_only = ["fit", "-c", str(ROOT / "configs" / name), "--print_config"]
    with pytest.raises(SystemExit) as stop:
        cli.train(parser_only)
    assert stop.value.code in (0, None)


def test_the_twin_differs_in_one_line():
    twins = [(ROOT / "configs" / "model" / name).read_text().splitlines() for name in ("unet.yaml", "unet_twin.yaml")]
    settings = [[line for line in lines if not line.startswith("#")] for lines in twins]
    assert sum(a != b for a, b in zip(*settings)) == 1 and len(settings[0]) == len(settings[1])


def test_messages_without_a_cause_stay_as_they_are():
    assert one_sentence("Something else.") == "Something else."


def test_every_run_watches_its_loader_once(config, here):
    from livecam.callbacks import ExplanationGallery, LoaderWatch

    def own(settings):
        settings["trainer"]["callbacks"].append({"class_path": "LoaderWatch", "init_args": {"share": 0.5}})

    for change, share in ((None, 0.2), (own, 0.5)):
        trainer = cli.train(["fit", "-c", config(change), "--run", f"watched-{share}"]).trainer
        (watch,) = [callback for callback in trainer.callbacks if isinstance(callback, LoaderWatch)]
        assert watch.share == share
        assert any(isinstance(callback, ExplanationGallery) for callback in trainer.callbacks)
