import os
import pickle
import re

import pytest
import torch
from PIL import Image
from torch.utils.data import SequentialSampler

from livecam.core.normalization import IMAGENET
from livecam.data.folder import ImageFolderData


def plant(root, *paths, color=(90, 120, 30)):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 10), color).save(root / path)
    return str(root)


def tree(root, **counts):
    return plant(root, *(f"{name}/{i}.png" for name, count in counts.items() for i in range(count)))


def build(root, **arguments):
    return ImageFolderData(root, **{"image_size": 8, "num_workers": 0, **arguments})


def paths(data, part):
    return [photo.path for photo in data.sets[part].photos]


def test_folders_of_classes_are_divided(tmp_path):
    root = tree(tmp_path, cat=10, ant=20, bee=3)
    data = build(root, batch_size=5)
    assert (data.class_names, data.num_classes, data.head, data.image_size) == (["ant", "bee", "cat"], 3, "softmax", 8)
    assert data.normalization == IMAGENET and data.mean == [0.485, 0.456, 0.406]
    assert data.sets["val"].targets == [0, 0, 0, 0, 1, 2, 2]
    assert not set(paths(data, "train")) & set(paths(data, "val"))
    assert len(paths(data, "train")) == 26
    assert paths(build(root), "val") == paths(data, "val") != paths(build(root, seed=1), "val")
    assert len(paths(build(root, val_fraction=0.5), "val")) == 10 + 2 + 5

    batch = next(iter(data.val_dataloader()))
    assert batch.keys() == {"image", "label", "index"}
    assert batch["image"].shape == (5, 3, 8, 8)
    assert not isinstance(data.train_dataloader().sampler, SequentialSampler)
    for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        assert isinstance(loader.sampler, SequentialSampler)
        assert loader.dataset is data.sets["val"]


def test_the_file_system_order_does_not_matter(tmp_path, monkeypatch):
    root = tree(tmp_path, cat=10, ant=20)
    scandir = os.scandir
    listings = []
    for backwards in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(
                os, "scandir", lambda path, way=backwards: sorted(scandir(path), key=lambda e: e.name, reverse=way)
            )
            data = build(root)
            listings.append((data.class_names, paths(data, "train"), paths(data, "val")))
    assert listings[0] == listings[1]


def test_given_parts_are_kept(tmp_path):
    root = plant(tmp_path, "train/a/1.png", "train/a/deep/er/2.JPG", "train/b/1.png", "val/a/3.png", "val/b/4.png")
    data = build(root)
    assert paths(data, "train") == ["train/a/1.png", "train/a/deep/er/2.JPG", "train/b/1.png"]
    assert paths(data, "val") == ["val/a/3.png", "val/b/4.png"]
    assert data.class_names == ["a", "b"]
    plant(tmp_path, "test/a/5.png", "test/b/6.png")
    data = build(root)
    assert data.test_dataloader().dataset is data.predict_dataloader().dataset is data.sets["test"]
    assert paths(data, "test") == ["test/a/5.png", "test/b/6.png"]


def test_hidden_files_are_ignored_and_others_counted(tmp_path, caplog):
    root = tree(tmp_path, a=3, b=3)
    plant(tmp_path, "a/.hidden.png", "a/.folder/1.png", ".cache/1.png")
    (tmp_path / "notes.txt").write_text("")
    assert len(paths(build(root), "train") + paths(build(root), "val")) == 6
    assert not caplog.messages
    (tmp_path / "a" / "photo.heic").write_text("")
    (tmp_path / "b" / "deep").mkdir()
    (tmp_path / "b" / "deep" / "photo.heic").write_text("")
    build(root)
    assert len(caplog.messages) == 1 and "not images: 2 of .heic" in caplog.messages[0]


def test_training_differs_from_epoch_to_epoch_and_validation_does_not(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    for name in ("a", "b"):
        for i in range(2):
            Image.effect_noise((40, 30), 90).convert("RGB").save(tmp_path / name / f"{i}.png")
    data = build(str(tmp_path), val_fraction=0.5)
    assert not torch.equal(data.sets["train"][0]["image"], data.sets["train"][0]["image"])
    assert torch.equal(data.sets["val"][0]["image"], data.sets["val"][0]["image"])
    plain = build(str(tmp_path), val_fraction=0.5, augmentation=0)
    assert torch.equal(plain.sets["train"][0]["image"], plain.sets["train"][0]["image"])


def test_workers_persist_and_data_sets_reach_them(tmp_path):
    data = build(tree(tmp_path, a=4, b=4), num_workers=2)
    loader = data.val_dataloader()
    assert loader.persistent_workers and loader.num_workers == 2
    assert loader.pin_memory == torch.cuda.is_available()
    copy = pickle.loads(pickle.dumps(data.sets["val"]))
    assert torch.equal(copy[0]["image"], data.sets["val"][0]["image"])
    assert 1 <= ImageFolderData(data.sets["val"].root, image_size=8).num_workers <= 4


def test_unreadable_files_are_counted_over_all_parts(tmp_path):
    root = tree(tmp_path, a=4, b=4)
    data = build(root, batch_size=8, val_fraction=0.5)
    for part in ("train", "val"):
        (tmp_path / paths(data, part)[0]).write_bytes(b"")
        assert len(next(iter(getattr(data, f"{part}_dataloader")()))["label"]) == 3
    assert data.unreadable == 2
    strict = build(root, max_unreadable=0)
    with pytest.raises(ValueError, match="More than 0 of"):
        list(strict.train_dataloader())
        list(strict.val_dataloader())


def refused(match, root, error=ValueError):
    with pytest.raises(error, match=match) as caught:
        build(root)
    assert "\n" not in str(caught.value)


def test_a_wrong_root_is_explained(tmp_path):
    refused("does not exist: root should be a folder that holds a folder for each class", tmp_path / "no", OSError)
    plant(tmp_path, "photo.png")
    refused("is a file", tmp_path / "photo.png", FileNotFoundError)
    refused("holds no folder: put the images of each class", tmp_path)
    tree(tmp_path, wrapped=3)
    refused(f"single folder, 'wrapped'.*give {re.escape(str(tmp_path / 'wrapped'))} as root", tmp_path)


def test_odd_classes_are_named(tmp_path):
    root = tree(tmp_path, a=2, b=1)
    refused("Class 'b' has a single image", root)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.txt").write_text("")
    refused(f"{re.escape(root)}/empty holds no image .*add some, or remove the folder", root)


def test_wrong_parts_are_explained(tmp_path):
    root = plant(tmp_path, "train/a/1.png", "train/b/1.png", "valid/a/1.png", "valid/b/1.png", "labels/x/1.png")
    refused("holds labels, train, valid, but a divided data set needs train/ and val/", root)
    os.rename(tmp_path / "valid", tmp_path / "val")
    build(root)
    plant(tmp_path, "train/c/1.png", "val/d/1.png")
    refused("train/ and val/ .* same classes: only in train/ c; only in val/ d", root)
    plant(tmp_path, "train/d/1.png", "val/c/1.png", "test/a/1.png", "test/b/1.png")
    refused("train/ and test/ .* only in train/ c, d; only in test/ none", root)
    only_train = plant(tmp_path / "other", "train/a/1.png", "train/b/1.png")
    refused("holds train, but", only_train)


def test_links_may_not_leave_the_root(tmp_path):
    outside = tree(tmp_path / "outside", a=2)
    root = tree(tmp_path / "root", a=2, b=2)
    for link in ("a/away.png", "b/away", "away"):
        target = f"{outside}/a/0.png" if link.endswith(".png") else f"{outside}/a"
        os.symlink(target, f"{root}/{link}")
        refused(f"{link} is a link that leaves the data folder", root)
        os.remove(f"{root}/{link}")
    # A sibling whose name begins like the root's is outside all the same.
    sibling = tree(tmp_path / "root2", a=1)
    os.symlink(f"{sibling}/a/0.png", f"{root}/a/away.png")
    refused("leaves the data folder", root)
    os.remove(f"{root}/a/away.png")
    os.symlink(root, f"{root}/a/circle")
    refused("a folder that holds it", root)


def test_links_within_the_root_and_to_the_root_are_fine(tmp_path):
    root = tree(tmp_path / "root", a=2, b=2)
    os.symlink(f"{root}/a/0.png", f"{root}/a/again.png")
    os.symlink(root, tmp_path / "shortcut")
    data = build(tmp_path / "shortcut")
    assert len(paths(data, "train") + paths(data, "val")) == 5
    os.symlink(f"{root}/gone.png", f"{root}/b/dangling.png")
    data = build(root)
    list(data.train_dataloader()), list(data.val_dataloader())
    assert data.unreadable == 1
