"""Live scores that read the validation step's own forward: as many passes, and the same numbers, as without them."""

import logging
from dataclasses import dataclass

import pytest
import torch
from foreign import ForeignModule
from lightning.pytorch.callbacks import Callback
from torch import nn

from livecam.callbacks import ExplanationScores
from livecam.data import PlantedShapesData
from livecam.evaluation import fault_tolerance as explaining
from livecam.explain import CAM, GradCAM, GradCAMPlusPlus, GradualExtrapolation, LayerCAM, Saliency, WGradCAM
from livecam.runtime.model_state import is_explaining

FAMILY = ("cam", "gradcam", "gradcam_pp", "xgradcam", "layercam", "wgradcam")
PIXELS = 3 * 32 * 32


@pytest.fixture
def shapes_data():
    return PlantedShapesData(image_size=32, train_length=8, val_length=24, batch_size=8)


def count_images(module):
    """Numbers of images of the passes from here on: the training's, and those of explanations."""
    own, ours = [], []
    net = getattr(module, "net", module)
    net.register_forward_pre_hook(lambda net, args: (ours if is_explaining() else own).append(len(args[0])))
    return own, ours


def validated(make_trainer, module, data, methods=FAMILY, **settings):
    trainer_settings = {key: settings.pop(key) for key in ("precision", "callbacks") if key in settings}
    scores = ExplanationScores(methods, **settings)
    others = trainer_settings.pop("callbacks", [])
    trainer = make_trainer(callbacks=[scores, *others], **trainer_settings)
    trainer.validate(module, datamodule=data, verbose=False)
    return scores


def agree(one, other, tolerance=1e-5):
    assert one.results.keys() == other.results.keys()
    for key, values in one.results.items():
        assert values == pytest.approx(other.results[key], abs=tolerance, nan_ok=True), key


class Aside(Callback):
    """Has the network run once more in every validation step's wake, so that its layers do not run once."""

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        with torch.no_grad():
            pl_module(batch["image"][:1])


def test_the_whole_family_takes_no_pass_of_its_own(make_trainer, shapes_module, shapes_data, caplog):
    module = shapes_module()
    own, ours = count_images(module)
    with caplog.at_level(logging.INFO):
        heard = validated(make_trainer, module, shapes_data)
    assert own == [8, 8, 8]
    # The dry run that finds the layers, and the verification.
    assert ours == [1, 2]
    (sentence,) = [text for text in caplog.messages if text.startswith("Scores:")]
    assert "cam, gradcam, gradcam_pp" in sentence and "read the validation step's own forward" in sentence

    with caplog.at_level(logging.INFO):
        recorded = validated(make_trainer, shapes_module(), shapes_data, callbacks=[Aside()])
    assert "ran 2 times" in caplog.messages[-1] and "take a recorded pass" in caplog.messages[-1]
    agree(heard, recorded)


def test_what_needs_gradients_of_other_layers_takes_a_recorded_pass(make_trainer, shapes_module, shapes_data, caplog):
    module = shapes_module()
    _, ours = count_images(module)
    coarse = GradCAM(layer="bottleneck", name="coarse")
    with caplog.at_level(logging.INFO):
        both = validated(make_trainer, module, shapes_data, [GradCAM(), coarse, GradualExtrapolation(coarse)])
    assert ours == [1, 2, 8, 8, 8]
    (sentence,) = [text for text in caplog.messages if text.startswith("Scores:")]
    assert "gradcam read" in sentence and "coarse, gradual_coarse take a recorded pass" in sentence
    agree(both, validated(make_trainer, shapes_module(), shapes_data, both.explainers, callbacks=[Aside()]))
    caplog.clear()
    with caplog.at_level(logging.INFO):
        validated(make_trainer, shapes_module(), shapes_data, [LayerCAM(layer="bottleneck")])
    assert "no closed form gives" in caplog.text


def test_methods_that_ask_for_the_pixels_gradient_are_recorded(make_trainer, shapes_module, shapes_data, caplog):
    with caplog.at_level(logging.INFO):
        validated(make_trainer, shapes_module(), shapes_data, [Saliency()])
    assert not [text for text in caplog.messages if text.startswith("Scores:")], "nothing could be expected"


class Mirrored(nn.Module):
    """A validation step's network that is shown other images than the batch holds."""

    def __init__(self, inner, flip):
        super().__init__()
        self.inner, self.flip = inner, flip

    def forward(self, images):
        return self.inner(images.flip(3) if self.flip and not is_explaining() else images)


@pytest.mark.parametrize("flip", [False, True])
def test_a_step_that_shows_other_images_is_found_out(flip, make_trainer, shapes_module, shapes_data, caplog):
    module = shapes_module()
    module.net = Mirrored(module.net, flip)
    with caplog.at_level(logging.INFO):
        scores = validated(make_trainer, module, shapes_data)
    assert ("shows the network something else" in caplog.text) is flip
    agree(scores, validated(make_trainer, shapes_module(), shapes_data))


def test_a_compiled_network_is_not_listened_to(make_trainer, shapes_module, shapes_data, caplog):
    module = shapes_module()
    module.net = torch.compile(module.net, backend="eager")
    with caplog.at_level(logging.INFO):
        scores = validated(make_trainer, module, shapes_data, ["gradcam", "cam"])
    assert "compiled" in caplog.text
    agree(scores, validated(make_trainer, shapes_module(), shapes_data, ["gradcam", "cam"]))


def test_half_precision_that_is_fine_enough_is_taken(make_trainer, shapes_module, shapes_data, caplog):
    with caplog.at_level(logging.INFO):
        scores = validated(make_trainer, shapes_module(), shapes_data, precision="bf16-mixed")
    (sentence,) = [text for text in caplog.messages if text.startswith("Scores:")]
    assert "own forward and need no pass" in sentence
    full = validated(make_trainer, shapes_module(), shapes_data)
    assert scores.results["localization"] == pytest.approx(full.results["localization"], abs=0.02)


def test_half_precision_that_is_too_coarse_is_refused(make_trainer, shapes_module, shapes_data, caplog):
    module = shapes_module()
    with torch.no_grad():
        # Differences of activations that lie far from zero are lost in eight bits.
        module.net.decoder.blocks[0].convs[4].bias.fill_(300.0)
    with caplog.at_level(logging.INFO):
        validated(make_trainer, module, shapes_data, precision="bf16-mixed")
    assert "too coarsely" in caplog.text


@dataclass(frozen=True)
class Broken(GradCAM):
    """Fails where maps are made of what was heard."""

    method, label = "broken", "Broken"

    def explain(self, recording):
        raise RuntimeError("gone")


WRONG = {
    # Its captures are told by activations alone; that one of them is no map shows where they are taken.
    "no map": GradualExtrapolation(GradCAM(), layers=["head"], name="wrong"),
    "no explanation": Broken(name="wrong"),
}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("kind", WRONG)
def test_one_method_that_does_not_fit_costs_no_other(kind, precision, make_trainer, shapes_module, shapes_data, caplog):
    wrong = WRONG[kind]
    with caplog.at_level(logging.INFO):
        scores = validated(make_trainer, shapes_module(), shapes_data, [GradCAM(), wrong], precision=precision)
    # In full precision, no map is made to verify what was heard.
    refused = (kind, precision) != ("no explanation", "32-true")
    assert ("gradcam, wrong take a recorded pass instead" in caplog.text) is refused
    assert "Explainer 'wrong' failed and is left out" in caplog.text
    counted = (scores.results[f"sharpness_{count}"] for count in ("n", "undefined"))
    assert sum(count["gradcam"] for count in counted) == 24
    assert "wrong" not in scores.results["sharpness"]


def test_all_methods_explain_the_class_that_one_pass_predicted(make_trainer, shapes_module, shapes_data, monkeypatch):
    asked = []
    record = explaining.record
    monkeypatch.setattr(explaining, "record", lambda *args, **kw: asked.append(args[2]) or record(*args, **kw))
    methods = [GradCAM(), GradCAM(layer="bottleneck", name="coarse")]
    scores = validated(make_trainer, shapes_module(), shapes_data, methods, target="predicted")
    assert [len(targets) for targets in asked] == [8, 8, 8], "not None, which would predict anew"
    assert {*scores.results["sharpness"]} == {"gradcam", "coarse"}


def test_what_lightning_compiles_is_not_listened_to(make_trainer, shapes_module, shapes_data, caplog):
    module = torch.compile(shapes_module(), backend="eager")
    with caplog.at_level(logging.INFO):
        validated(make_trainer, module, shapes_data, ["gradcam"])
    assert "compiled" in caplog.text


def test_two_callbacks_listen_without_hearing_each_other(make_trainer, shapes_module, shapes_data, caplog):
    module = shapes_module()
    own, ours = count_images(module)
    more = ExplanationScores([WGradCAM(), GradCAM(layer="bottleneck", name="coarse")])
    with caplog.at_level(logging.INFO):
        first = validated(make_trainer, module, shapes_data, ["gradcam_pp"], callbacks=[more])
    assert len([text for text in caplog.messages if "read the validation step's own forward" in text]) == 2
    assert own == [8, 8, 8] and sorted(ours) == [1, 2, 2, 8, 8, 8]
    agree(first, validated(make_trainer, shapes_module(), shapes_data, ["gradcam_pp"]))


def test_a_probability_is_known_from_the_same_forward(make_trainer, shapes_module, shapes_data):
    module = shapes_module()
    _, ours = count_images(module)
    scores = validated(make_trainer, module, shapes_data, ["gradcam"], min_probability=0.2)
    assert ours == [1, 2]
    agree(
        scores,
        validated(make_trainer, shapes_module(), shapes_data, ["gradcam"], min_probability=0.2, callbacks=[Aside()]),
    )


def test_every_validation_is_verified_anew(make_trainer, shapes_module, shapes_data):
    module = shapes_module()
    _, ours = count_images(module)
    trainer = make_trainer(callbacks=[ExplanationScores([GradCAM(), CAM()])], max_epochs=3)
    trainer.fit(module, datamodule=shapes_data)
    assert ours == [1, 2, 2, 2]


def test_a_step_that_fails_leaves_no_hook(make_trainer, foreign_loader):
    class Failing(ForeignModule):
        def validation_step(self, batch, batch_idx):
            if batch_idx == 1:
                raise RuntimeError("lost")
            return super().validation_step(batch, batch_idx)

    module = Failing()
    trainer = make_trainer(callbacks=[ExplanationScores([GradCAMPlusPlus()])])
    with pytest.raises(RuntimeError, match="lost"):
        trainer.validate(module, foreign_loader(), verbose=False)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
