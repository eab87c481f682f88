"""Watching changes no bit of a training, under whatever circumstances."""

import shutil
from tempfile import TemporaryDirectory

import pytest
import torch
from helpers.bits import same
from hypothesis import HealthCheck, example, given, settings
from undisturbed_fits import CIRCUMSTANCES, EVERYTHING, fit

pytestmark = [
    pytest.mark.filterwarnings("ignore:Grad-CAM\\+\\+ is defined for activations"),
    pytest.mark.filterwarnings("ignore:Gradual Grad-CAM is Grad-CAM itself"),
]


def check_undisturbed(circumstances):
    with TemporaryDirectory() as folder:
        watched, alone = (fit(circumstances, watch, f"{folder}/{watch}") for watch in (True, False))
    for what, value in alone.items():
        assert same(value, watched[what]), f"{what} differ"
    # What is compared has happened: losses of two epochs, and validations.
    assert sum(isinstance(each, torch.Tensor) and each.ndim == 0 for each in alone["seen"]) == 6
    assert sum(isinstance(each, torch.Tensor) and each.ndim == 2 for each in alone["seen"]) >= 4


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@example(EVERYTHING)
@given(CIRCUMSTANCES)
def test_watching_does_not_disturb(circumstances):
    check_undisturbed(circumstances)


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="no compiler of C++")
def test_compiled_code_is_not_disturbed():
    """As torch compiles by default, to machine code."""
    check_undisturbed(EVERYTHING | {"backend": "inductor", "precision": "32-true"})


@pytest.mark.slow
def test_watching_does_not_disturb_in_many_circumstances():
    tried = []

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(CIRCUMSTANCES)
    def many(circumstances):
        tried.append(circumstances)
        check_undisturbed(circumstances)

    many()
    print(f"{len(tried)} combinations of circumstances, watched and not: equal to the last bit")
    for key, value in EVERYTHING.items():
        if key != "methods":
            assert {str(each[key]) for each in tried} >= {str(value)}, f"{key}={value} was never drawn"
