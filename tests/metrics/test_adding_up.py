"""However images are split over batches and ranks, the result is that of one update."""

import datetime
import os
from functools import partial
from itertools import pairwise

import pytest
import torch
from helpers.toys import build
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st

from livecam.core.normalization import IMAGENET
from livecam.metrics import LocalizationScore
from livecam.metrics.image_metric import metric_classes

# In double precision, where a batch of another size rounds no differently as far as anybody can tell.
NET = build(lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 6 * 7, 4))).double()


def given(metric, maps, masks, reference, images, labels):
    """What a metric reads, by the names of its arguments."""
    offered = {"maps": maps, "masks": masks, "reference": reference, "categories": labels, "targets": labels}
    offered |= {"images": images, "model": NET, "normalization": IMAGENET}
    # Something that reads the network's weights, image by image.
    offered["explain"] = lambda net: maps * net[1].weight[0, : maps[0].numel()].reshape(maps[0].shape)
    return {name: offered[name] for name in metric.inputs if name != "head"}


OPTIONS = {"insertion_deletion": {"step": 9, "curves": True}, "pointing": {"num_categories": 4}}
# Every metric, found by itself.
METRICS = {
    name: partial(cls, **OPTIONS.get(name, {}))
    for name, cls in metric_classes().items()
    if cls.__module__.startswith("livecam.")
}
COUNT = 12


def data(metric):
    """Maps over twenty orders of magnitude, some without energy or mask; in [0, 1] where a metric wants them so."""
    generator = torch.Generator().manual_seed(3)
    maps = torch.rand(COUNT, 6, 7, generator=generator)
    if metric.uses == "energy":
        maps *= torch.logspace(-12, 8, COUNT)[:, None, None]
    masks = torch.rand(COUNT, 6, 7, generator=generator) < 0.4
    reference = torch.rand(COUNT, 6, 7, generator=generator)
    maps[2], maps[7], masks[4], masks[9], reference[5] = 0, 1, False, True, 0
    images = torch.randn(COUNT, 3, 6, 7, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (COUNT,), generator=generator)
    return maps, masks, reference, images, labels


def whole(name):
    metric = METRICS[name]()
    metric.update(**given(metric, *data(metric)))
    return metric.compute()


def same(found, expected):
    assert found.keys() == expected.keys()
    for key in expected:
        torch.testing.assert_close(found[key], expected[key], atol=1e-12, rtol=0, equal_nan=True)


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=8, deadline=None)
@given_by(cuts=st.lists(st.integers(1, COUNT - 1), max_size=5), order=st.permutations(range(COUNT)))
def test_any_split_in_any_order(name, cuts, order):
    metric = METRICS[name]()
    parts = [part[list(order)] for part in data(metric)]
    edges = [0, *sorted(set(cuts)), COUNT]
    for start, end in pairwise(edges):
        metric.update(**given(metric, *(part[start:end] for part in parts)))
    same(metric.compute(), whole(name))


@pytest.mark.parametrize("name", METRICS)
def test_reset_forgets(name):
    metric = METRICS[name]()
    metric.update(**given(metric, *(part[:5] for part in data(metric))))
    metric.compute()
    metric.reset()
    metric.update(**given(metric, *data(metric)))
    same(metric.compute(), whole(name))


def test_sums_stay_double_when_a_model_is_cast():
    metric = LocalizationScore()
    torch.nn.Sequential(metric).half()
    metric.update(**given(metric, *data(metric)))
    assert metric.sums.dtype == torch.float64


def one_rank(rank, store, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=datetime.timedelta(seconds=60)
    )
    try:
        mine = slice(0, 9) if rank == 0 else slice(9, COUNT)
        for name, make in METRICS.items():
            metric = make()
            metric.update(**given(metric, *(part[mine] for part in data(metric))))
            torch.save(metric.compute(), os.path.join(folder, f"{name}{rank}.pt"))
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    # Forked, as importing everything anew in two processes takes ten times as long as the test.
    torch.multiprocessing.start_processes(
        one_rank, (str(tmp_path / "store"), str(tmp_path)), nprocs=2, start_method="fork"
    )
    for name in METRICS:
        expected = whole(name)
        for rank in (0, 1):
            same(torch.load(tmp_path / f"{name}{rank}.pt", weights_only=True), expected)
