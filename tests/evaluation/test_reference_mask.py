"""Reference maps: right for the class asked for, computed once, and no part of what is trained."""

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader

from livecam.callbacks import ExplanationScores
from livecam.core.batch import Batch
from livecam.core.normalization import IMAGENET, Normalization
from livecam.evaluation.reference_mask import ReferenceMask
from livecam.explain import CAM, GradCAM, GradCAMPlusPlus
from livecam.models import build_model
from livecam.training.classifier import Classifier

OWN = Normalization((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
CLASSES = 5


def checkpoint(path, head="softmax"):
    torch.manual_seed(0)
    classes = 2 if head == "binary" else CLASSES
    unet = {"model": "unet", "model_args": {"width": 4, "depth": 1}}
    module = Classifier(**unet, num_classes=classes, head=head, mean=OWN.mean, std=OWN.std)
    torch.save({"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}, path)
    return str(path)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("reference") / "a.ckpt")


@pytest.fixture
def reference(file):
    return ReferenceMask(checkpoint=file, explainer=CAM())


def batch(count=4, size=12, first=0, index=True):
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(first + count, 3, size, size, generator=generator)[first:]
    numbers = torch.arange(first, first + count)
    return Batch(images, numbers % 2, index=numbers if index else None)


def cam_by_hand(network, images, targets):
    """CAM of a GAP head: class weights times the last feature map; negative is no evidence; stretched to [0, 1]."""
    kept = []
    hook = network.net.decoder.register_forward_hook(lambda module, inputs, output: kept.append(output))
    with torch.no_grad():
        network(images)
    hook.remove()
    weight = network.net.head.weight.detach()
    rows = torch.stack([weight[t] if len(weight) > 1 else weight[0] * (1 if t else -1) for t in targets])
    maps = torch.einsum("nc,nchw->nhw", rows, kept[0]).clamp(min=0)
    low, high = maps.flatten(1).min(1).values[:, None, None], maps.flatten(1).max(1).values[:, None, None]
    assert (high > low).all()
    return (maps - low) / (high - low)


def forwards(reference):
    """A list that grows by the batch size at every forward of the reference network."""
    sizes = []
    reference._network.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    return sizes


def test_maps_are_those_of_the_method_at_the_label(reference):
    data = batch()
    maps = reference.masks(data, OWN)
    assert maps.shape == (4, 12, 12) and maps.dtype == torch.float32 and not maps.requires_grad
    assert maps.min() == 0 and torch.equal(maps.amax((1, 2)), torch.ones(4))
    assert torch.allclose(maps, cam_by_hand(reference._network, data.image, data.label), atol=1e-5)


def test_the_paper_takes_gradcam_plus_plus(file):
    assert type(ReferenceMask(checkpoint=file).explainer) is GradCAMPlusPlus


def test_maps_of_the_predicted_class(file):
    reference = ReferenceMask(checkpoint=file, explainer=CAM(), target="predicted")
    data = batch()
    with torch.no_grad():
        predicted = reference._network(data.image).argmax(1)
    assert (predicted != data.label).any()
    expected = cam_by_hand(reference._network, data.image, predicted)
    assert torch.allclose(reference.masks(data, OWN), expected, atol=1e-5)


def test_maps_of_the_most_probable_class_that_means_the_same(file):
    reference = ReferenceMask(checkpoint=file, explainer=CAM(), target={0: [2], 1: [4, 1, 0]})
    data = batch()
    with torch.no_grad():
        logits = reference._network(data.image)
    chosen = [2 if label == 0 else max((4, 1, 0), key=lambda c: row[c]) for row, label in zip(logits, data.label)]
    expected = cam_by_hand(reference._network, data.image, chosen)
    assert torch.allclose(reference.masks(data, OWN), expected, atol=1e-5)


@pytest.mark.parametrize(("target", "chosen"), [("label", [0, 1, 0, 1]), ({0: [1], 1: [0]}, [1, 0, 1, 0])])
def test_one_logit_reference(tmp_path, target, chosen):
    reference = ReferenceMask(checkpoint=checkpoint(tmp_path / "b.ckpt", "binary"), explainer=CAM(), target=target)
    data = batch()
    expected = cam_by_hand(reference._network, data.image, chosen)
    assert torch.allclose(reference.masks(data, OWN), expected, atol=1e-5)


def test_images_are_normalized_anew_for_the_reference(reference):
    pixels = torch.rand(2, 3, 12, 12)
    theirs = Normalization((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    mean, std = torch.tensor(theirs.mean)[:, None, None], torch.tensor(theirs.std)[:, None, None]
    data = Batch((pixels - mean) / std, torch.zeros(2, dtype=torch.long))
    seen = []
    reference._network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    reference.masks(data, theirs)
    mean, std = torch.tensor(OWN.mean)[:, None, None], torch.tensor(OWN.std)[:, None, None]
    assert torch.allclose(seen[-1], (pixels - mean) / std, atol=1e-5)


def test_a_published_network_reads_images_as_imagenet(tmp_path):
    torch.manual_seed(0)
    net = build_model("torchvision/squeezenet1_1", CLASSES)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    model = {"model": "torchvision/squeezenet1_1", "weights": str(tmp_path / "w.pth"), "num_classes": CLASSES}
    reference = ReferenceMask(**model, explainer=GradCAM())
    assert reference.normalization == IMAGENET and not reference._network.training
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in reference._network.state_dict().items())
    other = ReferenceMask(**model, normalization=OWN)
    assert other.normalization == OWN
    # Its maps are coarser than the images and come back at their size.
    assert reference.masks(batch(2, 40), IMAGENET).shape == (2, 40, 40)
    assert all(kept.shape[0] < 40 for kept in reference._maps.values())


def test_a_known_index_costs_no_forward(reference):
    data, sizes = batch(), forwards(reference)
    first = reference.masks(data, OWN)
    assert sizes[-1] == 4
    sizes.clear()
    assert torch.equal(reference.masks(data, OWN), first) and sizes == []
    mixed = batch(4, first=2)
    reference.masks(mixed, OWN)
    assert sizes[-1] == 2 and max(sizes) <= 2, "only the two that are new"


def test_maps_do_not_depend_on_the_company(reference, file):
    data = batch()
    order = torch.tensor([3, 0, 2])
    some = Batch(data.image[order], data.label[order], index=data.index[order])
    maps = reference.masks(data, OWN)
    assert torch.equal(reference.masks(some, OWN), maps[order])
    assert torch.allclose(ReferenceMask(checkpoint=file, explainer=CAM()).masks(some, OWN), maps[order], atol=1e-5)


def test_an_index_of_another_data_set_is_another_image(reference):
    """Validation and test sets both count from 0."""
    val = batch()
    test = Batch(batch(4, first=4).image, val.label, index=val.index)
    reference.masks(val, OWN)
    expected = cam_by_hand(reference._network, test.image, test.label)
    assert torch.allclose(reference.masks(test, OWN), expected, atol=1e-5)
    sizes = forwards(reference)
    reference.masks(val, OWN)
    assert sizes == [], "both are kept"


def test_without_an_index_nothing_is_kept(reference):
    data, sizes = batch(index=False), forwards(reference)
    first = reference.masks(data, OWN)
    sizes.clear()
    assert torch.equal(reference.masks(data, OWN), first) and sizes[-1] == 4 and not reference._maps


def test_the_cache_is_bounded(file):
    reference = ReferenceMask(checkpoint=file, explainer=CAM(), cache=3)
    data = batch(5)
    first = reference.masks(data, OWN)
    assert len(reference._maps) == 3
    # Owned by the entry alone, or the bound would not bind memory.
    assert all(kept.untyped_storage().nbytes() == 12 * 12 * 4 for kept in reference._maps.values())
    sizes = forwards(reference)
    assert torch.allclose(reference.masks(data, OWN), first, atol=1e-5)
    assert sizes[-1] == 2 and len(reference._maps) == 3


def test_works_in_inference_mode_and_out_of_it(reference, file):
    data = batch()
    with torch.inference_mode():
        inside = Batch(data.image.clone(), data.label.clone(), index=data.index.clone())
        first = reference.masks(inside, OWN)
    assert torch.equal(reference.masks(data, OWN), first)
    with torch.no_grad():
        fresh = ReferenceMask(checkpoint=file, explainer=CAM()).masks(data, OWN)
    assert torch.allclose(fresh, first, atol=1e-5)


def test_the_network_moves_outside_of_inference_mode(reference, monkeypatch):
    """Parameters moved inside of it could take no part in gradients, and `validate` is all inference mode."""
    inside, move = [], nn.Module.to

    def watched(module, *args, **kw):
        inside.append(torch.is_inference_mode_enabled())
        return move(module, *args, **kw)

    monkeypatch.setattr(nn.Module, "to", watched)
    with torch.inference_mode():
        reference.masks(batch(), OWN)
    assert inside and not any(inside)


def test_half_precision_batches(file):
    reference = ReferenceMask(checkpoint=file, explainer=CAM(), target={0: [0], 1: [1]})
    data = batch()
    half = Batch(data.image.bfloat16(), data.label, index=data.index)
    rounded = cam_by_hand(reference._network, half.image.float(), data.label)
    assert torch.allclose(reference.masks(half, OWN), rounded, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*LeafSpec")
def test_is_no_part_of_the_model_or_of_a_checkpoint(reference, tmp_path):
    samples = [
        {"image": image, "label": int(label), "index": i} for i, (image, label) in enumerate(zip(*pair(batch(6))))
    ]
    module = Classifier(model="unet", num_classes=2, model_args={"width": 2, "depth": 1}, mean=OWN.mean, std=OWN.std)
    keys = set(module.state_dict())
    module.reference = reference
    assert set(module.state_dict()) == keys and len(list(module.children())) == 4
    scores = ExplanationScores([GradCAM()], reference=reference, normalization=OWN, strict=True)
    trainer = Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, callbacks=[scores],
    )  # fmt: skip
    before = {key: value.clone() for key, value in reference._network.state_dict().items()}
    sizes = forwards(reference)
    trainer.fit(module, *[DataLoader(samples, 3)] * 2)
    assert sum(size == 3 for size in sizes) == 2, "two batches, once each; further validations read the cache"
    assert 0 <= float(trainer.callback_metrics["val/localization_ref/gradcam"]) <= 1
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert set(content["state_dict"]) == keys
    assert not any(isinstance(value, torch.Tensor) for value in leaves(content["callbacks"]))
    assert all(torch.equal(value, before[key]) for key, value in reference._network.state_dict().items())
    assert all(parameter.grad is None for parameter in reference._network.parameters())


def pair(data):
    return data.image, data.label


def leaves(value):
    """Everything inside nested dicts and lists."""
    if isinstance(value, dict | list | tuple):
        return [leaf for part in (value.values() if isinstance(value, dict) else value) for leaf in leaves(part)]
    return [value]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"model": "unet", "checkpoint": "a.ckpt"},
        {"model": "unet"},
        {"weights": "w.pth"},
        {"checkpoint": "a.ckpt", "weights": "w.pth"},
    ],
)
def test_a_reference_has_one_source_of_trained_weights(arguments):
    with pytest.raises(ValueError, match="either model= with weights=, or checkpoint= alone"):
        ReferenceMask(**arguments)


@pytest.mark.parametrize("target", ["labels", 3, {0: []}])
def test_a_target_that_means_nothing_is_refused(file, target):
    with pytest.raises(ValueError, match="take 'label', 'predicted', or the reference's classes for each class"):
        ReferenceMask(checkpoint=file, target=target)


def test_a_class_that_the_target_leaves_out_is_named(file):
    with pytest.raises(ValueError, match="says nothing of class 1"):
        ReferenceMask(checkpoint=file, target={0: [0]}).masks(batch(), OWN)


@pytest.mark.parametrize("target", ["label", {0: [0], 9: [CLASSES]}])
def test_a_class_that_the_reference_does_not_have_is_named(file, target):
    data = batch(1)
    data.label[:] = 9
    with pytest.raises(ValueError, match=r"Target class \d is out of range.* 5 classes, 0 to 4"):
        ReferenceMask(checkpoint=file, target=target).masks(data, OWN)
