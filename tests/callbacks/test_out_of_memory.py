"""What runs out of memory goes again in smaller portions, with the same result; the allocator's refusals are real."""

import logging
from dataclasses import dataclass

import pytest
import torch
from lightning import seed_everything

from livecam.callbacks import ExplanationScores
from livecam.data import PlantedShapesData
from livecam.evaluation.oom_backoff import OomBackoff, halved, internal_batch_size_of, is_oom_error, largest_batch_size
from livecam.explain import AOP, CAM, EMP, RISE, GradCAM, LayerCAM, ScoreCAM, by_names
from livecam.explain.explainer import Explainer
from livecam.metrics import InsertionDeletion, Sharpness
from livecam.runtime.model_state import is_explaining


def refuse(needed: int, there: int) -> None:
    """Ask the allocator for more than any machine has, where more is needed than is there."""
    if needed > there:
        torch.empty(2**46)


@dataclass(frozen=True)
class Hungry(Explainer):
    """Grad-CAM that needs memory for every image of a pass, and for every item of a chunk."""

    method, label = "hungry", "Hungry"

    images: int = 99
    items: int = 99
    internal_batch_size: int = 32
    passes: tuple = ()

    def captures(self, structure):
        return GradCAM().captures(structure)

    def explain(self, recording):
        SIZES.append((len(recording.images), self.internal_batch_size))
        refuse(len(recording.images), self.images)
        refuse(self.internal_batch_size, self.items)
        return GradCAM().explain(recording), {"note": [f"row {int(t)}" for t in recording.targets], "of": "all"}


SIZES: list[tuple[int, int]] = []


@pytest.fixture(autouse=True)
def no_sizes():
    SIZES.clear()


@pytest.fixture
def shapes_data():
    return PlantedShapesData(image_size=32, train_length=8, val_length=16, batch_size=8)


def scored(make_trainer, module, data, methods, metrics=None, **kw):
    scores = ExplanationScores(methods, metrics, **kw)
    trainer = make_trainer(callbacks=[scores])
    trainer.validate(module, datamodule=data, verbose=False)
    return scores, trainer


def told(caplog, word):
    return [text for text in map(caplog.handler.format, caplog.records) if word in text]


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [
        ({"images": 3}, [(8, 32), (4, 16), (2, 8), (2, 8), (2, 8), (2, 8)]),
        ({"items": 20}, [(8, 32), (4, 16), (4, 16)]),
        ({"images": 1, "items": 1}, [(8, 32), (4, 16), (2, 8), (1, 4), (1, 2), *[(1, 1)] * 8]),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_portions_are_halved_until_they_fit(limits, sizes, strict, make_trainer, shapes_module, shapes_data, caplog):
    methods = [Hungry(**limits), GradCAM()]
    with caplog.at_level(logging.WARNING):
        scores, trainer = scored(make_trainer, shapes_module(), shapes_data, methods, strict=strict)
    # The second batch begins with what fitted.
    last = [size for size in sizes if size == sizes[-1]]
    assert sizes + last == SIZES
    (sentence,) = told(caplog, "'hungry'")
    assert "ran out of memory and is tried again in smaller portions" in sentence and "Traceback" in sentence
    for key, values in scores.results.items():
        assert values["hungry"] == pytest.approx(values["gradcam"], abs=1e-6, nan_ok=True), key
    assert trainer.callback_metrics["val/failed_maps"] == 0


def test_details_of_portions_are_those_of_the_whole(make_trainer, shapes_module, shapes_data):
    kept = {}

    class Keeping(ExplanationScores):
        def _add(self, explained, keep):
            kept.setdefault("found", explained.explanations)
            super()._add(explained, keep)

    callback = Keeping([Hungry(images=2), GradCAM()])
    make_trainer(callbacks=[callback]).validate(shapes_module(), datamodule=shapes_data, verbose=False)
    hungry, whole = kept["found"]["hungry"], kept["found"]["gradcam"]
    assert hungry.details == {"note": [f"row {int(t)}" for t in whole.target], "of": "all"}
    assert torch.equal(hungry.target, whole.target) and hungry.map.shape == whole.map.shape


def test_what_never_fits_is_left_out(make_trainer, shapes_module, shapes_data, caplog):
    with caplog.at_level(logging.WARNING):
        scores, trainer = scored(make_trainer, shapes_module(), shapes_data, [Hungry(images=0), GradCAM()])
    assert [*scores.results["sharpness"]] == ["gradcam"]
    assert trainer.callback_metrics["val/failed_maps"] == 16
    (final,) = told(caplog, "'hungry' failed and is left out")
    assert "memory" in final and "Traceback" in final
    with pytest.raises(RuntimeError, match="memory"):
        scored(make_trainer, shapes_module(), shapes_data, [Hungry(images=0), GradCAM()], strict=True)


def test_a_shared_pass_that_does_not_fit_is_halved_for_all(make_trainer, shapes_module, shapes_data, caplog):
    module, passes = shapes_module(), []
    # Of a layer that no closed form tells of.
    methods = [GradCAM(layer="bottleneck"), LayerCAM(layer="bottleneck")]

    def small(net, args):
        # Validation's own pass fits.
        if is_explaining():
            passes.append(len(args[0]))
            refuse(len(args[0]), 4)

    module.net.register_forward_pre_hook(small)
    with caplog.at_level(logging.WARNING):
        scores, _ = scored(make_trainer, module, shapes_data, methods)
    # The first is the dry run that finds the layers.
    assert passes == [1, 8, 4, 4, 4, 4]
    assert {len(told(caplog, f"'{method.name}' ran out of memory")) for method in methods} == {1}
    plain, _ = scored(make_trainer, shapes_module(), shapes_data, methods)
    for key, values in plain.results.items():
        assert scores.results[key] == pytest.approx(values, abs=1e-6, nan_ok=True), key


def test_a_metric_is_halved_too(make_trainer, shapes_module, shapes_data, caplog):
    asked = []

    class Large(Sharpness):
        internal_batch_size = 8

        def per_image(self, maps):
            asked.append((len(maps), self.internal_batch_size))
            refuse(len(maps), 2)
            return super().per_image(maps)

    with caplog.at_level(logging.WARNING):
        scores, _ = scored(make_trainer, shapes_module(), shapes_data, [GradCAM()], [Large()])
    assert asked[:7] == [(8, 8), (4, 4), (2, 2), (2, 2), (4, 2), (2, 1), (2, 1)]
    (sentence,) = told(caplog, "'sharpness' ran out of memory")
    assert "Traceback" in sentence
    plain, _ = scored(make_trainer, shapes_module(), shapes_data, [GradCAM()], [Sharpness()])
    assert scores.results["sharpness"] == pytest.approx(plain.results["sharpness"])


def test_methods_within_methods_are_halved():
    whole = AOP("scorecam", EMP(3, internal_batch_size=16), warmup=1)
    small = halved(whole, 2)
    assert small.name == whole.name and largest_batch_size(whole) == 32
    assert small.optimizer.internal_batch_size == 4 and small.base.internal_batch_size == 8
    assert halved(ScoreCAM(internal_batch_size=3), 5).internal_batch_size == 1
    assert halved(CAM(), 3) == CAM() and largest_batch_size(CAM()) == 1
    assert halved(whole, 0) is whole


def test_a_chunk_that_free_memory_chose_is_halved_to_a_number():
    assert halved(RISE(), 1).internal_batch_size == 16 and halved(RISE(), 9).internal_batch_size == 1
    assert [
        internal_batch_size_of(InsertionDeletion(internal_batch_size=internal_batch_size))
        for internal_batch_size in (None, 8)
    ] == [32, 8] and internal_batch_size_of(Sharpness()) == 1


def test_portions_end():
    portions, (hungry, cam) = OomBackoff(), (Hungry(internal_batch_size=4), CAM())
    turns = []
    for times, group in portions.groups([hungry, cam]):
        turns.append((times, [each.name for each in group]))
        portions.back_off(halved(hungry, times), 2)
    assert turns == [(0, ["hungry", "cam"]), (1, ["hungry"]), (2, ["hungry"])]
    assert not portions.back_off(halved(hungry, 2), 2)


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (MemoryError(), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 18 GB)"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_causes(error, memory):
    assert is_oom_error(error) is memory


def test_smaller_portions_of_real_methods_agree(make_trainer, shapes_module, shapes_data):
    """Whatever the portions, methods without chance say the same."""
    seed_everything(0, verbose=False)
    methods = by_names(["scorecam", "occlusion", "integrated_gradients", "gradual_gradcam", "layercam"])
    whole, _ = scored(make_trainer, shapes_module(), shapes_data, methods, strict=True)

    class Halving(ExplanationScores):
        def explain(self, trainer, pl_module, batch, explainers=None):
            for explainer in self.explainers:
                self._explaining._portions._halvings[explainer.name] = 2
            return super().explain(trainer, pl_module, batch, explainers)

    halves = Halving(methods, strict=True)
    make_trainer(callbacks=[halves]).validate(shapes_module(), datamodule=shapes_data, verbose=False)
    for key, values in whole.results.items():
        assert halves.results[key] == pytest.approx(values, abs=1e-5, nan_ok=True), key
