"""Methods of many passes: on the gallery's samples only, at every n-th validation."""

import json
import logging
from pathlib import Path

import pytest
import torch

from livecam.callbacks import ExplanationGallery
from livecam.callbacks import explanation_gallery as gallery_module
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


def test_turns_are_those_of_the_gallery_and_the_latest_is_in_the_closing_tables(
    make_trainer, picture_logger, foreign_loader, foreign_module, monkeypatch
):
    asked, tables = [], {}
    monkeypatch.setattr(gallery_module, "log_table", lambda logger, key, columns, *_: tables.setdefault(key, columns))
    gallery = ExplanationGallery(
        ["gradcam"],
        samples=2,
        every_n_validations=2,
        costly=[Counting(asked)],
        costly_every_n_validations=3,
        strict=True,
    )
    trainer = make_trainer(max_epochs=10, callbacks=[gallery], logger=picture_logger)
    trainer.fit(foreign_module, foreign_loader(True), foreign_loader())
    # Galleries are at validations 0, 2, 4, 6, 8; every third of them is 0 and 6.
    assert asked == [2, 2]
    assert set(tables) == {"explanations/gallery_table", "explanations/gallery_costly_table"}
    assert "inside Counting" in tables["explanations/gallery_costly_table"]
    assert "inside Counting" not in tables["explanations/gallery_table"]


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


def test_watching_by_optimized_masks_does_not_disturb(make_trainer, picture_logger, foreign_loader, foreign_module):
    start = {key: value.clone() for key, value in foreign_module.state_dict().items()}

    def weights(callbacks):
        foreign_module.load_state_dict(start)
        torch.manual_seed(3)
        trainer = make_trainer(callbacks=callbacks, logger=picture_logger)
        trainer.fit(foreign_module, foreign_loader(True), foreign_loader())
        return {key: value.clone() for key, value in foreign_module.state_dict().items()}

    few = IGOS(2, n_steps=2, size=6)
    watched = weights([ExplanationGallery(["gradcam"], costly=[few], costly_every_n_validations=1, strict=True)])
    alone = weights([])
    assert all(torch.equal(watched[key], alone[key]) for key in alone)


def test_two_methods_of_one_name_are_refused():
    with pytest.raises(ValueError, match="Two explainers are called 'igos'"):
        ExplanationGallery(["igos"], costly=["igos"])
    with pytest.raises(ValueError, match="costly_every_n_validations is a whole number from 1"):
        ExplanationGallery(["gradcam"], costly=["igos"], costly_every_n_validations=0)
