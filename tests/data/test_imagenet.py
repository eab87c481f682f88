"""ImageNet in every layout: the same photos, labels and masks; and a report of all that is missing."""

import imagenet_trees as trees
import pytest
import torch
from imagenet_trees import LABELS, VAL, build, stem, told

from livecam.data.imagenet import datamodule as imagenet
from livecam.data.imagenet import labels as imagenet_labels


def kaggle(root):
    trees.flat(root / "ILSVRC/Data/CLS-LOC/val")
    trees.solution(root / "LOC_val_solution.csv")
    trees.xml(root / "ILSVRC/Annotations/CLS-LOC/val")
    return "ILSVRC/Data/CLS-LOC/"


def kaggle_below(root):
    trees.flat(root / "Data/CLS-LOC/val")
    trees.solution(root / "LOC_val_solution.csv")
    return "Data/CLS-LOC/"


def folders(root):
    trees.by_class(root / "val")
    trees.xml(root / "ILSVRC2012_bbox_val_v3/val")


def folders_and_csv(root):
    trees.by_class(root / "val")
    trees.solution(root / "LOC_val_solution.csv")


def flat_and_csv(root):
    trees.flat(root / "val")
    trees.solution(root / "LOC_val_solution.csv")


def flat_and_kit(root):
    trees.flat(root / "val")
    trees.lists(root / "ILSVRC2012_devkit_t12/data")
    trees.meta(root / "ILSVRC2012_devkit_t12/data")
    trees.xml(root / "bbox/val")


def flat_and_loose_kit(root):
    trees.flat(root / "val")
    trees.lists(root / "val")
    trees.meta(root)
    # The archive of boxes, unpacked where it unpacks.
    trees.xml(root / "val")


def flat_and_wnids(root):
    trees.flat(root / "val")
    trees.lists(root, "imagenet_2012_validation_synset_labels.txt", str)
    trees.xml(root / "Annotations/CLS-LOC/val")


def flat_and_wnids_in_ground_truth(root):
    trees.flat(root / "val")
    trees.lists(root / "devkit/data", word=str)
    trees.xml(root / "val_boxes/val")


LAYOUTS = [
    kaggle,
    kaggle_below,
    folders,
    folders_and_csv,
    flat_and_csv,
    flat_and_kit,
    flat_and_loose_kit,
    flat_and_wnids,
    flat_and_wnids_in_ground_truth,
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_photos(tmp_path, layout):
    base = layout(tmp_path) or ""
    trees.train(tmp_path / base / "train")
    data = build(tmp_path, batch_size=8)
    val = data.sets["val"]
    found = {int(photo.path[-13:-5]): index for index, photo in enumerate(val.photos)}
    assert sorted(found) == sorted(VAL) and all(photo.path.startswith(f"{base}val/") for photo in val.photos)
    for number, mask in zip(VAL, trees.masks()):
        sample = val[found[number]]
        assert sample["label"] == LABELS[VAL[number][0]]
        # Its pixels are those of the file that the label belongs to.
        assert round(255 * float(sample["image"].mean())) == 5 * number
        assert sample["has_mask"] and torch.equal(sample["mask"], mask)
    train = data.sets["train"]
    assert [photo.path for photo in train.photos][:2] == [
        f"{base}train/n01440764/n01440764_{number}.JPEG" for number in (12, 5)
    ]
    assert train.targets == [0, 0, 1, 1, 207, 207, 999, 999]
    assert "mask" not in train[0], "training pays nothing for masks"
    assert next(iter(data.train_dataloader()))["label"].shape == (8,)


def test_names_of_classes(tmp_path):
    flat_and_csv(tmp_path)
    names = build(tmp_path).class_names
    assert len(names) == len(set(names)) == 1000
    assert [names[index] for index in (0, 1, 207, 999)] == ["tench", "goldfish", "golden retriever", "toilet tissue"]
    assert [names[index] for index in (134, 517)] == ["crane (n02012849)", "crane (n03126707)"]
    from torchvision.models import ResNet18_Weights

    own = ResNet18_Weights.DEFAULT.meta["categories"]
    assert sum(name.lower() == other.lower() for name, other in zip(names, own)) > 990


def test_without_train_there_is_nothing_to_train_on(tmp_path):
    flat_and_csv(tmp_path)
    data = build(tmp_path)
    assert len(next(iter(data.test_dataloader()))["label"]) == 4
    with pytest.raises(ValueError, match="nothing to train on"):
        data.train_dataloader()


def three_classes(monkeypatch):
    """A world in which the whole of ILSVRC2012 has three classes, six training and four validation images."""
    few = {"n01440764": "tench", "n02099601": "golden retriever", "n15075141": "toilet tissue"}
    monkeypatch.setattr(imagenet, "ilsvrc_classes", lambda: few)
    monkeypatch.setattr(imagenet, "TRAIN", 6)
    monkeypatch.setattr(imagenet, "VAL", 4)
    return list(few)


def test_a_complete_set_is_no_reason_to_say_anything(tmp_path, monkeypatch, caplog):
    wnids = three_classes(monkeypatch)
    flat_and_csv(tmp_path)
    trees.train(tmp_path / "train", *wnids)
    assert len(build(tmp_path, allow_incomplete=False).sets["train"]) == 6
    assert not told(caplog)


def test_all_that_is_missing_is_reported_at_once(tmp_path, monkeypatch, caplog):
    wnids = three_classes(monkeypatch)
    flat_and_csv(tmp_path)
    (tmp_path / "val" / f"{stem(2)}.JPEG").unlink()
    trees.photo(tmp_path / "val" / f"{stem(50)}.JPEG")
    trees.train(tmp_path / "train", wnids[0])
    (tmp_path / "train" / wnids[1]).mkdir()
    (tmp_path / "train" / f"{wnids[2]}.tar").write_bytes(b"")
    report = (
        f"The data in {tmp_path} are not complete: "
        f"LOC_val_solution.csv gives 1 images no class: {stem(50)}.JPEG; "
        f"LOC_val_solution.csv labels 1 images that are not there: {stem(2)}; "
        f"train/ lacks 1 of 3 class folders: {wnids[2]}; "
        f"train/ has 1 class folders without an image: {wnids[1]}; "
        f"train/ holds 1 files outside of class folders: {wnids[2]}.tar; "
        "train/ holds 2 of 6 images; "
        "to train on some of the classes, ImageFolderData counts those alone."
    )
    with pytest.raises(ValueError) as refused:
        build(tmp_path, allow_incomplete=False)
    remedy = " Copy what is missing, or go on with what is there by --data.allow_incomplete true."
    assert str(refused.value) == report + remedy
    caplog.clear()
    data = build(tmp_path)
    assert told(caplog) == [f"{report} What is there is used."]
    assert len(data.sets["train"]) == 2 and len(data.sets["val"]) == 3


def test_the_counts_of_ilsvrc2012(tmp_path):
    trees.train(tmp_path / "train", "n01440764")
    folders_and_csv(tmp_path)
    trees.solution(tmp_path / "LOC_val_solution.csv", VAL | {number: VAL[1] for number in range(100, 107)})
    with pytest.raises(ValueError) as refused:
        build(tmp_path, allow_incomplete=False)
    for finding in (
        "val/ lacks 997 of 1000 class folders: n01443537, n01484850, n01491361, n01494475, n01496331 and 992 more;",
        "val/ holds 4 of 50000 images;",
        "LOC_val_solution.csv describes 7 images that are not there: "
        + ", ".join(map(stem, range(100, 105)))
        + " and 2 more;",
        "train/ lacks 999 of 1000 class folders: n01443537, ",
        "train/ holds 2 of 1281167 images;",
    ):
        assert finding in str(refused.value)


def test_an_empty_train_folder_is_reported_and_no_part(tmp_path):
    flat_and_csv(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match=r"train/ lacks 1000 of 1000 class folders.*train/ holds 0 of 1281167"):
        build(tmp_path, allow_incomplete=False)
    assert "train" not in build(tmp_path).sets


def test_class_ids_are_those_of_the_files_of_torchvision():
    """Sorted ids are the labels of published networks."""
    wnids = list(imagenet_labels.ilsvrc_classes())
    assert len(wnids) == 1000 and all(wnids[label] == wnid for wnid, label in LABELS.items())
