"""OxfordPets: torchvision's labels, masks against hand-made pixels, and a whole run by its configuration."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from pets_tree import TRIMAP, build, plant
from PIL import Image
from test_image_io import stored_pixels, write

from livecam import cli
from livecam.data.pets import Pet
from livecam.data.serialized_list import SerializedList

CONFIG = Path(__file__).parents[2] / "configs" / "pets.yaml"
MASK = torch.zeros(8, 12, dtype=torch.bool)
MASK[1:6, 2:8] = True


@pytest.fixture
def root(tmp_path):
    return plant(tmp_path / "pets")


def names(part):
    return {Path(photo.path).stem for photo in part.photos}


def test_parts_and_labels_are_torchvisions(root):
    data = build(root)
    assert (data.num_classes, data.head) == (3, "softmax")
    found = {}
    for part in ("train", "val", "test"):
        found[part] = {Path(photo.path).stem: photo.label for photo in data.sets[part].photos}
    assert not found["train"].keys() & found["val"].keys()
    # A quarter of each class.
    assert sorted(found["val"].values()) == [0, 1, 2] and len(found["train"]) == 9
    for split, ours in (("trainval", found["train"] | found["val"]), ("test", found["test"])):
        theirs = torchvision.datasets.OxfordIIITPet(root, split=split, target_types=["category", "segmentation"])
        assert theirs.classes == data.class_names == ["Abyssinian", "English Setter", "Japanese Chin"]
        assert {path.stem: label for path, label in zip(theirs._images, theirs._labels)} == ours
        image, (_, trimap) = theirs[0]
        assert image.size == (12, 8) and np.array_equal(np.asarray(trimap), TRIMAP)
    assert names(build(root, seed=1).sets["val"]) != names(data.sets["val"])


def test_the_folder_itself_may_be_the_root(root):
    assert names(build(root / "oxford-iiit-pet").sets["test"]) == names(build(root).sets["test"])
    assert build(root / "oxford-iiit-pet").sets["test"][0]["has_mask"]


def test_masks_are_the_pet_and_its_border(root):
    plain = build(root).sets["val"]
    plain.transform = lambda image, mask: (image, mask)
    for index in range(len(plain)):
        sample = plain[index]
        assert sample["image"].shape == (3, 8, 12) and sample["has_mask"]
        assert torch.equal(sample["mask"], MASK)
    batch = next(iter(build(root).test_dataloader()))
    # 12 x 8 px stretched to 12 x 12: rows 1 to 5 become 1.5 to 9.
    assert batch["has_mask"].all() and batch["mask"][0].any(0).nonzero().flatten().tolist() == list(range(2, 8))
    assert batch["mask"].shape == (6, 12, 12) and batch["mask"].dtype == torch.bool


@pytest.mark.parametrize("mode", ["L", "P"])
def test_trimaps_with_a_palette_are_read_by_their_marks(root, mode):
    picture = Image.fromarray(TRIMAP)
    if mode == "P":
        picture = Image.frombytes("P", (12, 8), TRIMAP.tobytes())
        picture.putpalette([0, 0, 0, 200, 0, 0, 0, 9, 0, 70, 70, 70])
    for path in (root / "oxford-iiit-pet/annotations/trimaps").glob("[!.]*.png"):
        picture.save(path)
    assert build(root).sets["val"][0]["mask"].sum() == build(root).sets["val"][1]["mask"].sum() > 0


def test_trimaps_follow_photos_that_are_stored_turned_or_smaller(root):
    base = root / "oxford-iiit-pet"
    name = sorted(names(build(root).sets["val"]))[0]
    scene = np.zeros((8, 12, 3), np.uint8)
    scene[1:6, 2:8] = 255
    # Stored on its side; the trimap is drawn on stored pixels.
    write(base / "images" / f"{name}.jpg", stored_pixels(scene, 6), 6, quality=95)
    Image.fromarray(np.ascontiguousarray(stored_pixels(TRIMAP[..., None], 6)[..., 0])).save(
        base / "annotations" / "trimaps" / f"{name}.png"
    )
    part = build(root).sets["val"]
    part.transform = lambda image, mask: (image, mask)
    (index,) = [i for i, photo in enumerate(part.photos) if Path(photo.path).stem == name]
    sample = part[index]
    assert torch.equal(sample["mask"], MASK)
    assert (sample["image"].float().mean(0)[MASK] > 128).float().mean() > 0.9
    # A copy of half the size: each pixel takes the mark at its center.
    Image.new("RGB", (6, 4)).save(base / "images" / f"{name}.jpg")
    Image.fromarray(TRIMAP).save(base / "annotations" / "trimaps" / f"{name}.png")
    small = part[index]["mask"]
    assert torch.equal(small, MASK[1::2, 1::2])


def test_pets_are_packed_and_reach_other_processes():
    pets_ = [Pet("images/a_1.jpg", 3, trimap="annotations/trimaps/a_1.png"), Pet("images/b_1.jpg", 0)]
    assert list(SerializedList(pets_)) == pets_
    assert [pet.annotated for pet in SerializedList(pets_)] == [True, False]


def test_loader_processes_read_masks(root):
    batch = next(iter(build(root, num_workers=1).test_dataloader()))
    assert batch["has_mask"].all() and batch["mask"].flatten(1).any(1).all()


TINY = ["--model.model", "torchvision/resnet18", "--model.weights", "null", "--data.image_size", "64"]


def test_the_configuration_parses(here, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.train(["fit", "-c", str(CONFIG), "--print_config"])
    assert stop.value.code in (0, None)
    assert "OxfordPets" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_scores_explanations_by_trimaps_and_so_does_its_checkpoint(here, root, capsys):
    few = ["--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"]
    workers = ["--data.root", str(root), "--data.num_workers", "0", "--data.batch_size", "4"]
    trainer = cli.train(["fit", "-c", str(CONFIG), *TINY, *few, *workers, "--run", "pets"]).trainer
    assert trainer.callback_metrics["val/images_without_mask"] == 0
    assert trainer.callback_metrics["val/localization_n/gradcam"] + trainer.callback_metrics[
        "val/localization_undefined/gradcam"
    ] == len(trainer.datamodule.sets["val"])
    checkpoint = str(next((here / "runs" / "pets" / "checkpoints").glob("last*.ckpt")))
    settings = torch.load(checkpoint, weights_only=True)["hyper_parameters"]
    assert settings["class_names"] == ["Abyssinian", "English Setter", "Japanese Chin"]
    data = ["--data", "OxfordPets", "--data.root", str(root), "--data.num_workers", "0", "--data.image_size", "64"]
    metrics = ["--methods", "gradcam,cam", "--metrics", "localization,pointing", "--split", "test"]
    cli.explain(["score", "--checkpoint", checkpoint, *data, *metrics, "--trainer.accelerator", "cpu"])
    assert "6 images" in capsys.readouterr().out
    assert len((here / "scores" / "scores.csv").read_text().splitlines()) > 12
