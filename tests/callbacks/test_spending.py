"""What explanations take of a training, as it says in the end."""

import re
import time
from dataclasses import dataclass

import pytest

from livecam.callbacks import ExplanationGallery, ExplanationScores
from livecam.callbacks.base import Stopwatch
from livecam.data import PlantedShapesData
from livecam.explain import GradCAM

SENTENCE = re.compile(r"Explanations took (\d+\.\d)% of this run \((\d+\.\d) s of (\d+) s\)\.")


@dataclass(frozen=True)
class Slow(GradCAM):
    """Grad-CAM that takes its time."""

    method, label, single_pass = "slow", "Slow", False

    def explain(self, recording):
        time.sleep(0.3)
        return super().explain(recording)


@pytest.fixture
def shapes_data():
    return PlantedShapesData(image_size=32, train_length=8, val_length=8, batch_size=4)


def test_a_training_says_once_what_explanations_took(make_trainer, shapes_module, shapes_data, capsys, picture_logger):
    watching = [ExplanationScores([Slow()]), ExplanationGallery([GradCAM()], samples=2)]
    start = time.perf_counter()
    make_trainer(callbacks=watching, logger=picture_logger).fit(shapes_module(), datamodule=shapes_data)
    passed = time.perf_counter() - start
    ((share, seconds, whole),) = SENTENCE.findall(capsys.readouterr().out)
    # Two validations of two batches each.
    assert 4 * 0.3 <= float(seconds) <= passed
    assert float(whole) <= passed + 0.5
    assert float(share) == pytest.approx(100 * float(seconds) / passed, rel=0.5) and float(share) < 100


def test_a_training_without_explanations_or_a_validation_alone_says_nothing(
    make_trainer, shapes_module, shapes_data, capsys
):
    make_trainer().fit(shapes_module(), datamodule=shapes_data)
    make_trainer(callbacks=[ExplanationScores([GradCAM()])]).validate(shapes_module(), datamodule=shapes_data)
    assert "Explanations took" not in capsys.readouterr().out


def test_stretches_add_up_and_failures_count_too():
    spending = Stopwatch()
    with spending.measure():
        time.sleep(0.02)
    with pytest.raises(KeyError), spending.measure():
        time.sleep(0.03)
        raise KeyError
    first = spending.pop()
    assert 0.05 <= first == spending.total
    assert spending.pop() == 0 and spending.total == first
