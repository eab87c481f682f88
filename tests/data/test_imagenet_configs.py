"""configs/imagenet.yaml, alone and with the networks that go on top of it."""

from pathlib import Path

import imagenet_trees as trees
import pytest
import torch
import yaml
from lightning import Callback

from livecam import cli

CONFIGS = Path(__file__).parents[2] / "configs"
NETWORKS = {
    None: "torchvision/resnet50",
    "resnet50": "torchvision/resnet50",
    "vgg16": "torchvision/vgg16",
    "unet": "unet",
}


def pieces(network):
    more = ["-c", str(CONFIGS / "model" / f"{network}.yaml")] if network else []
    return ["-c", str(CONFIGS / "imagenet.yaml"), *more]


@pytest.fixture
def tree(here):
    trees.flat(here / "val")
    trees.solution(here / "LOC_val_solution.csv")
    trees.train(here / "train")
    return ["--data.root", str(here), "--data.allow_incomplete", "true"]


TINY = [
    *("--data.image_size", "32", "--data.num_workers", "0", "--data.batch_size", "4"),
    *("--trainer.accelerator", "cpu", "--trainer.devices", "1"),
    *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"),
]


# Half precision makes nothing of four images that a ResNet reduces to a single pixel.
LARGER = ["--data.image_size", "64"]


@pytest.mark.parametrize("network", NETWORKS)
def test_it_parses_with_every_network(network, here, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.train(["fit", *pieces(network), "--print_config"])
    assert stop.value.code in (0, None)
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["model"]["model"] == NETWORKS[network] and config["model"]["weights"] is None
    assert config["data"]["class_path"].endswith("ImageNet")
    # Without batch norm the rate is a tenth.
    assert config["model"]["lr"] == (0.005 if network == "vgg16" else 0.05)


def test_arguments_are_explained(here, capsys):
    with pytest.raises(SystemExit):
        cli.train(["fit", "--data.help", "ImageNet"])
    told = " ".join(capsys.readouterr().out.split())
    assert "CSV file, or folder of XML files, with the boxes of validation images" in told
    assert "--data.allow_incomplete" in told and "--data.image_size" in told


def test_what_is_missing_reaches_the_command_line(tree, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.train(["validate", *pieces(None), *tree[:2]])
    assert stop.value.code == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("error: The data in ") and told.endswith("by --data.allow_incomplete true.")
    assert "val/ holds 4 of 50000 images; " in told and "train/ holds 8 of 1281167 images; " in told


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_a_batch_of_every_network(network, tree):
    ran = cli.train(["fit", *pieces(network), *tree, *TINY, *LARGER, "--trainer.fast_dev_run", "true"])
    assert ran.model.hparams.num_classes == 1000 and ran.model.hparams.class_names[207] == "golden retriever"
    assert torch.isfinite(ran.trainer.callback_metrics["val/loss"])


class Watch(Callback):
    """Stands where a gallery does; remembers a weight of the last training step and of the last validation."""

    def on_validation_epoch_end(self, trainer, pl_module):
        self.shown = next(pl_module.parameters()).detach().clone()

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.trained = next(pl_module.parameters()).detach().clone()


@pytest.mark.slow
def test_averaged_weights_are_one_callback_more(tree, here):
    """The remark in the configuration: validation, and so galleries and scores, then see averaged weights."""
    run = yaml.safe_load((CONFIGS / "imagenet.yaml").read_text())
    run["model"] |= {"model": "unet", "model_args": {"width": 4, "depth": 1}}
    run["trainer"]["callbacks"].append({"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging"})
    watch = {"class_path": f"{__name__}.Watch"}
    run["trainer"]["callbacks"].insert(0, watch)
    (here / "run.yaml").write_text(yaml.safe_dump(run))
    short = ["--trainer.max_epochs", "1", "--trainer.num_sanity_val_steps", "0"]
    ran = cli.train(["fit", "-c", "run.yaml", *tree, *TINY, *short])
    watch = next(callback for callback in ran.trainer.callbacks if isinstance(callback, Watch))
    assert not torch.equal(watch.shown, watch.trained)
    # In the end the average is what is kept.
    assert torch.equal(next(ran.model.parameters()), watch.shown)
