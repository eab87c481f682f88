"""However images are split over batches and ranks, the result is that of one update."""

import datetime
import os
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from livecam.metrics import LocalizationScore, ReferenceLocalizationScore, Sharpness

METRICS = {
    "localization": (LocalizationScore, lambda maps, masks, reference: (maps, masks)),
    "reference": (ReferenceLocalizationScore, lambda maps, masks, reference: (maps, reference)),
    "sharpness": (Sharpness, lambda maps, masks, reference: (maps,)),
}
COUNT = 12


def data():
    """Maps over twenty orders of magnitude, some without energy or mask."""
    generator = torch.Generator().manual_seed(3)
    maps = torch.rand(COUNT, 6, 7, generator=generator) * torch.logspace(-12, 8, COUNT)[:, None, None]
    masks = torch.rand(COUNT, 6, 7, generator=generator) < 0.4
    reference = torch.rand(COUNT, 6, 7, generator=generator)
    maps[2], maps[7], masks[4], masks[9], reference[5] = 0, 1, False, True, 0
    return maps, masks, reference


def whole(name):
    cls, arguments = METRICS[name]
    metric = cls()
    metric.update(*arguments(*data()))
    return metric.compute()


def same(found, expected):
    assert found.keys() == expected.keys()
    for key in expected:
        torch.testing.assert_close(found[key], expected[key], atol=1e-12, rtol=0, equal_nan=True)


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, COUNT - 1), max_size=5), order=st.permutations(range(COUNT)))
def test_any_split_in_any_order(name, cuts, order):
    cls, arguments = METRICS[name]
    metric, parts = cls(), [part[list(order)] for part in data()]
    edges = [0, *sorted(set(cuts)), COUNT]
    for start, end in pairwise(edges):
        metric.update(*arguments(*(part[start:end] for part in parts)))
    same(metric.compute(), whole(name))


@pytest.mark.parametrize("name", METRICS)
def test_reset_forgets(name):
    cls, arguments = METRICS[name]
    metric = cls()
    metric.update(*arguments(*(part[:5] for part in data())))
    metric.compute()
    metric.reset()
    metric.update(*arguments(*data()))
    same(metric.compute(), whole(name))


def test_sums_stay_double_when_a_model_is_cast():
    metric = LocalizationScore()
    torch.nn.Sequential(metric).half()
    metric.update(*METRICS["localization"][1](*data()))
    assert metric.sums.dtype == torch.float64


def one_rank(rank, store, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=datetime.timedelta(seconds=60)
    )
    try:
        mine = slice(0, 9) if rank == 0 else slice(9, COUNT)
        for name, (cls, arguments) in METRICS.items():
            metric = cls()
            metric.update(*arguments(*(part[mine] for part in data())))
            torch.save(metric.compute(), os.path.join(folder, f"{name}{rank}.pt"))
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    torch.multiprocessing.spawn(one_rank, (str(tmp_path / "store"), str(tmp_path)), nprocs=2)
    for name in METRICS:
        expected = whole(name)
        for rank in (0, 1):
            same(torch.load(tmp_path / f"{name}{rank}.pt", weights_only=True), expected)
