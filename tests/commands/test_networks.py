"""Which networks a command line names, and what they are called."""

import pytest
import torch
from helpers.checkpoints import save_unet
from helpers.toys import build

from livecam.commands.networks import SeveralNetworks, load_networks
from livecam.evaluation.loaded_network import NetworkOptions, load_network
from livecam.models import build_model

SMALL = {"num_classes": 4, "image_size": 32, "resize": "crop"}


def line_up(*checkpoints, models=(), weights=()):
    return load_networks(SeveralNetworks(checkpoint=checkpoints, model=models, weights=weights, **SMALL))


def labels(*checkpoints, **given):
    return [network.label for network in line_up(*checkpoints, **given)]


@pytest.fixture
def weights(tmp_path):
    """Files of random weights by name of a torchvision network."""

    def save(name, seed=0, stem="weights"):
        path = tmp_path / f"{stem}.pth"
        torch.save(build(build_model, f"torchvision/{name}", 4, seed=seed).state_dict(), path)
        return str(path)

    return save


def test_labels_say_what_is_ablated(tmp_path):
    paths = [save_unet(tmp_path / f"{skips}.ckpt", skips=skips) for skips in ("concat", "drop", "zero")]
    networks = line_up(*paths)
    assert [network.label for network in networks] == ["unet", "unet, no skips", "unet, skips zeroed"]
    assert [network.slug for network in networks] == ["unet", "unet_no_skips", "unet_skips_zeroed"]


def test_labels_that_are_alike_tell_the_run(tmp_path):
    first, second = (save_unet(tmp_path / "runs" / run / "checkpoints" / "last.ckpt") for run in ("first", "second"))
    twin = save_unet(tmp_path / "twin.ckpt", skips="drop")
    assert labels(first, twin, second) == ["unet (first)", "unet, no skips", "unet (second)"]


def test_checkpoints_of_one_run_tell_the_file(tmp_path):
    run = tmp_path / "runs" / "first" / "checkpoints"
    last, best = (save_unet(run / f"{name}.ckpt") for name in ("last", "best"))
    assert labels(last, best) == ["unet (first last)", "unet (first best)"]


def test_equal_run_and_file_names_get_numbers(tmp_path):
    paths = [save_unet(tmp_path / place / "run" / "checkpoints" / "last.ckpt") for place in "ab"]
    networks = line_up(*paths)
    assert [network.label for network in networks] == ["unet (run last 1)", "unet (run last 2)"]


def test_slugs_are_unique_where_labels_differ_only_in_signs(tmp_path):
    paths = [save_unet(tmp_path / run / "checkpoints" / "last.ckpt") for run in ("lr=0.1", "lr-0.1", "x" * 90)]
    slugs = [network.slug for network in line_up(*paths)]
    assert len(set(slugs)) == 3 and max(map(len, slugs)) <= 60
    assert all(slug.replace("_", "").isalnum() for slug in slugs)


def test_weights_pair_up_in_order_or_serve_all(weights):
    names, files = ["torchvision/resnet18", "torchvision/squeezenet1_1"], [weights("resnet18", stem="a")]
    files.append(weights("squeezenet1_1", stem="b"))
    assert [network.source for network in line_up(models=names, weights=files)] == files
    twice = ["torchvision/resnet18"] * 2
    networks = line_up(models=twice, weights=[files[0], weights("resnet18", seed=1, stem="c")])
    assert [network.label for network in networks] == ["torchvision/resnet18 (a)", "torchvision/resnet18 (c)"]
    assert not torch.equal(*(network.model.fc.weight for network in networks))
    with pytest.raises(ValueError, match="give one for each model, in the same order, or one"):
        line_up(models=[*names, "torchvision/alexnet"], weights=files)
    # One file is tried on both, and fits only one of them.
    with pytest.raises(ValueError, match="squeezenet1_1"):
        line_up(models=names, weights=files[:1])


def test_what_does_not_go_together(tmp_path, weights):
    path = save_unet(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="a checkpoint brings its own"):
        line_up(path, weights=["pretrained"])
    with pytest.raises(ValueError, match="is given twice"):
        line_up(path, path)
    with pytest.raises(ValueError, match="add --weights pretrained"):
        line_up(path, models=["torchvision/resnet18"])
    with pytest.raises(ValueError, match="either --checkpoint FILE, or --model NAME"):
        line_up()


@pytest.mark.parametrize("option", ["checkpoint", "model", "weights"])
def test_photos_behind_an_option_are_told(tmp_path, option):
    told = r"photo\.JPG is a picture, but --\w+ takes all that follows it: put the photos first"
    with pytest.raises(ValueError, match=told):
        load_networks(SeveralNetworks(**{option: ["first", "photo.JPG"]}))
    if option != "model":
        with pytest.raises(ValueError, match="is a folder"):
            load_networks(SeveralNetworks(**{option: ["first", str(tmp_path)]}))


def test_classes_by_name_and_index(tmp_path):
    network = load_network(NetworkOptions(checkpoint=save_unet(tmp_path / "a.ckpt", skips="drop")))
    assert [network.class_index(target) for target in (None, "cross", "3")] == [None, 2, 3]
    with pytest.raises(ValueError, match=r"unet, no skips has no class 'kross'\. Did you mean cross"):
        network.class_index("kross")
    with pytest.raises(ValueError, match="Class 4 is out of range: unet, no skips has 4 classes, 0 to 3"):
        network.class_index("4")


def test_a_binary_head_has_two_classes(tmp_path):
    path = save_unet(tmp_path / "a.ckpt", class_names=["dog", "wolf"], head="binary")
    network = load_network(NetworkOptions(checkpoint=path))
    assert (network.num_classes, network.class_index("wolf"), network.class_index("0")) == (2, 1, 0)
