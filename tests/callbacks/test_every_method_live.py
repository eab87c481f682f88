"""Every method runs in both live callbacks during a fit, on a U-Net with skips, and takes its place in the strips."""

import pytest
import torch
from lightning.pytorch import seed_everything

from livecam.callbacks import ExplanationGallery, ExplanationScores
from livecam.data import PlantedShapesData
from livecam.explain import (
    AOP,
    EMP,
    IGOS,
    RISE,
    SIGCAM,
    XRAI,
    IntegratedGradients,
    Occlusion,
    SmoothGrad,
    VarGrad,
    by_names,
)


def lineup():
    words = ["saliency", "input_x_gradient", "guided_backprop", "deconvnet", "excitation_backprop"]
    words += ["contrastive_excitation_backprop", "xrai_gradcam", "gradual_excitation_backprop"]
    cheap = [IntegratedGradients(2), SmoothGrad(num_samples=2), VarGrad(num_samples=2), Occlusion(16, 16), RISE(6)]
    cheap.append(XRAI(IntegratedGradients(2, ("image_min", "image_max"), "max"), scales=(10,)))
    few = IGOS(2, n_steps=2, size=8)
    cheap += [few, EMP(3, size=8), SIGCAM(optimizer=few, warmup=1), AOP("gradcam", EMP(3, size=8), warmup=1)]
    return [*by_names(words), *cheap]


@pytest.mark.filterwarnings("ignore:Gradual Excitation")
def test_every_method_in_a_fit(make_trainer, picture_logger, shapes_module):
    seed_everything(0)
    data = PlantedShapesData(train_length=8, val_length=8, image_size=32, batch_size=4)
    gallery = ExplanationGallery(lineup(), samples=2, strict=True)
    scores = ExplanationScores(lineup(), strict=True)
    trainer = make_trainer(max_epochs=1, callbacks=[gallery, scores], logger=picture_logger)
    trainer.fit(shapes_module(), datamodule=data)
    for explainer in lineup():
        value = trainer.callback_metrics[f"val/localization/{explainer.name}"]
        assert torch.isfinite(value) and 0 <= value <= 1
