"""Methods of many passes: on the gallery's samples only, at every n-th validation."""

import json
import logging
from pathlib import Path

import pytest
import torch

from livecam.callbacks import ExplanationGallery
from livecam.explain import IGOS, GradCAM
from livecam.explain.explainer import Explainer


class Counting(Explainer):
    """A map for each image, and a list of how many were asked for."""

    label = "Counting"

    def __init__(self, asked):
        object.__setattr__(self, "asked", asked)
        object.__setattr__(self, "name", "counting")

    def explain(self, recording):
        self.asked.append(len(recording.images))
        return recording.images.mean(1)


def columns(logger) -> list[int]:
    """How wide the pictures of each gallery are."""
    text = Path(logger.log_dir, "data.js").read_text()
    entries = json.loads(text[text.index("{") : text.rindex("}") + 1])["galleries"][0]["entries"]
    return [entry["images"][0]["width"] for entry in entries]


def test_every_third_validation_of_the_samples_and_never_untrained(
    make_trainer, picture_logger, foreign_loader, foreign_module
):
    asked = []
    gallery = ExplanationGallery(
        ["gradcam"], samples=3, costly=[Counting(asked)], costly_every_n_validations=3, strict=True
    )
    trainer = make_trainer(max_epochs=5, callbacks=[gallery], logger=picture_logger)
    trainer.fit(foreign_module, foreign_loader(True), foreign_loader())
    # The first and the fourth of five validations.
    assert asked == [3, 3]
    narrow, *validations = columns(picture_logger)
    assert [width > narrow for width in validations] == [True, False, False, True, False]
    trainer.validate(foreign_module, foreign_loader())
    assert asked == [3, 3, 3], "a validation of its own is always worth it"


def test_a_costly_method_that_fails_leaves_the_others(
    make_trainer, picture_logger, foreign_loader, foreign_module, caplog
):
    class Failing(IGOS):
        def explain(self, recording):
            raise RuntimeError("no memory left")

    gallery = ExplanationGallery([GradCAM()], samples=2, costly=[Failing(name="failing")])
    trainer = make_trainer(max_epochs=1, callbacks=[gallery], logger=picture_logger)
    with caplog.at_level(logging.WARNING):
        trainer.fit(foreign_module, foreign_loader(True), foreign_loader())
    assert "'failing' failed and is left out" in caplog.text
    assert len(columns(picture_logger)) == 2


def test_watching_by_optimised_masks_does_not_disturb(make_trainer, picture_logger, foreign_loader, foreign_module):
    start = {key: value.clone() for key, value in foreign_module.state_dict().items()}

    def weights(callbacks):
        foreign_module.load_state_dict(start)
        torch.manual_seed(3)
        trainer = make_trainer(callbacks=callbacks, logger=picture_logger)
        trainer.fit(foreign_module, foreign_loader(True), foreign_loader())
        return {key: value.clone() for key, value in foreign_module.state_dict().items()}

    few = IGOS(2, points=2, size=6)
    watched = weights([ExplanationGallery(["gradcam"], costly=[few], costly_every_n_validations=1, strict=True)])
    alone = weights([])
    assert all(torch.equal(watched[key], alone[key]) for key in alone)


def test_two_methods_of_one_name_are_refused():
    with pytest.raises(ValueError, match="Two explainers are called 'igos'"):
        ExplanationGallery(["igos"], costly=["igos"])
    with pytest.raises(ValueError, match="costly_every_n_validations is a whole number from 1"):
        ExplanationGallery(["gradcam"], costly=["igos"], costly_every_n_validations=0)
