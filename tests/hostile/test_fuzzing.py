"""Mutated files by the thousand: each is read, or refused in one sentence; none is a traceback or a crash."""

import pytest
from campaign import run


@pytest.mark.slow
def test_mutated_photos():
    told = run("photos", 3000, seed=0)
    assert sum(told.values()) == 3000 and min(told["read"], told["refused"]) > 300


@pytest.mark.slow
def test_mutated_checkpoints_and_weights():
    told = run("weights", 1000, seed=0)
    assert sum(told.values()) == 1000
    for kind in ("ckpt", "pt", "safetensors"):
        assert min(told[f"{kind} read"], told[f"{kind} refused"]) > 10


@pytest.mark.slow
def test_mutated_annotations_and_configurations():
    told = run("annotations", 2000, seed=0)
    assert sum(told.values()) == 2000
    for kind in (".csv", ".json", ".txt", ".yaml"):
        assert told[f"{kind} read"] > 5 and told[f"{kind} refused"] > 100
    assert told[".xml refused"] > 100
