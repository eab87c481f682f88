"""How much memory is free, what a network needs of it, and how many images that makes."""

from functools import partial

import pytest
import torch
from helpers.toys import StagedNet, build, pictures
from torch import nn

from livecam.explain import (
    EMP,
    RISE,
    IntegratedGradients,
    Occlusion,
    ScoreCAM,
    SmoothGradCAMPlusPlus,
    explain,
    structure_of,
)
from livecam.metrics import InsertionDeletion
from livecam.runtime import memory

CPU = torch.device("cpu")


@pytest.fixture
def free(monkeypatch):
    """Says how much is free, and gives back what the code asked about."""
    return lambda count: monkeypatch.setattr(memory, "free_bytes", lambda device: count)


def test_this_machine_has_some():
    assert 2**20 < memory.free_bytes(CPU) < 2**50


def test_a_network_needs_what_its_modules_return():
    net, images = build(StagedNet), pictures(2)
    structure_of(net, images)
    # stem, norm and first (6 x 24 x 24), pool (6 x 12 x 12), conv and last (8 x 12 x 12), drop returns its input, fc 4.
    wide, narrow, deep = 4 * 6 * 24 * 24, 4 * 6 * 12 * 12, 4 * 8 * 12 * 12
    need = memory.need_of(net, images)
    assert need.largest == wide and 3 * wide + narrow + 2 * deep <= need.total <= 3 * wide + narrow + 2 * deep + 100
    assert need.of_pass(backward=True) - need.of_pass(backward=False) == need.total > need.largest


def test_what_works_in_place_needs_nothing_more():
    images = pictures(1)
    plain, inplace = (memory.need_of(build(StagedNet, inplace=inplace), images) for inplace in (False, True))
    assert plain.largest == inplace.largest and plain.total - inplace.total == 4 * (6 * 24 * 24 + 8 * 12 * 12)


def test_a_network_is_asked_once_for_a_size():
    net, runs = build(StagedNet), []
    net.register_forward_pre_hook(lambda module, args: runs.append(tuple(args[0].shape)))
    net.train()
    for images in (pictures(3), pictures(1), pictures(3, (12, 12)), pictures(2)):
        memory.auto_batch_size(net, images)
    assert runs == [(1, 3, 24, 24), (1, 3, 12, 12)] and net.training
    assert not any(module._forward_hooks for module in net.modules())
    # The dry run that explanations need anyhow tells it too.
    structure_of(net, pictures(2, (16, 16)))
    memory.auto_batch_size(net, pictures(2, (16, 16)))
    assert len(runs) == 3


def test_half_of_what_is_free_is_taken(free):
    net, images = build(StagedNet), pictures(2)
    one = memory.need_of(net, images).of_pass(False) + 5 * 4 * 3 * 24 * 24
    for count, expected in ((0, 1), (one, 1), (2 * one, 1), (20 * one, 10), (20 * one - 1, 9), (10**12, 32)):
        free(count)
        assert memory.auto_batch_size(net, images) == expected
    free(20 * one)
    assert memory.auto_batch_size(net, images, backward=True) < 10


def test_tensors_of_a_cpu_stay_below_what_the_c_library_keeps(free):
    free(2**50)
    # 1024 x 24 x 24 single-precision numbers: fourteen such images in 32 MiB.
    wide = nn.Sequential(nn.Conv2d(3, 1024, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 2))
    assert memory.auto_batch_size(wide, pictures(1)) == 2**25 // (4 * 1024 * 24 * 24) == 14
    assert memory.auto_batch_size(wide, pictures(1), precision="bf16") == 2**25 // (2 * 1024 * 24 * 24) == 28
    assert memory.auto_batch_size(nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 2)), pictures(1)) == 32


@pytest.mark.parametrize(
    "make", [ScoreCAM, RISE, partial(Occlusion, 4, 1), partial(SmoothGradCAMPlusPlus, num_samples=40)]
)
def test_halves_let_twice_as_many_images_through(make, monkeypatch):
    net, images, sizes = build(StagedNet), pictures(1), {}
    monkeypatch.setattr(memory, "_RECYCLED_ON_CPU", 3 * memory.need_of(net, images).largest)
    for precision in ("full", "bf16"):
        counted = sizes.setdefault(precision, [])
        handle = net.register_forward_pre_hook(lambda module, args, counted=counted: counted.append(len(args[0])))
        explain(net, images, [make(precision=precision)], 1)
        handle.remove()
    assert max(sizes["full"]) == 3 and max(sizes["bf16"]) == 6


@pytest.mark.parametrize(
    "make",
    [
        lambda **internal_batch_size: ScoreCAM(**internal_batch_size),
        lambda **internal_batch_size: RISE(40, **internal_batch_size),
        lambda **internal_batch_size: Occlusion(8, 4, **internal_batch_size),
        lambda **internal_batch_size: SmoothGradCAMPlusPlus(num_samples=20, **internal_batch_size),
        lambda **internal_batch_size: IntegratedGradients(20, **internal_batch_size),
        lambda **internal_batch_size: EMP(2, size=6, **internal_batch_size),
    ],
)
def test_methods_take_what_is_free_and_results_do_not_depend_on_it(make, free):
    net, images, sizes = build(StagedNet).double(), pictures(2).double(), []
    structure_of(net, images)
    net.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    given = explain(net, images, [make(internal_batch_size=4)], 1)
    most = []
    for count in (0, 2**40):
        free(count)
        sizes.clear()
        found = explain(net, images, [make()], 1)
        most.append(max(sizes[1:]))
        for name in given:
            torch.testing.assert_close(found[name].raw, given[name].raw, atol=1e-12, rtol=1e-9)
    assert most[0] <= 2 and (most[1] > most[0] or make().name == "emp")


def test_insertion_and_deletion_too(free):
    net, images, maps, sizes = build(StagedNet), pictures(2), pictures(2, seed=3)[:, 0], []
    memory.need_of(net, images)
    net.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    for count, expected in ((0, 1), (2**40, 32)):
        free(count)
        sizes.clear()
        InsertionDeletion(step=10).per_image(net, images, torch.tensor([1, 2]), maps)
        assert max(sizes) == expected


def groups(folder, version, most, taken, idle):
    names = {2: ("memory.max", "memory.current"), 1: ("memory.limit_in_bytes", "memory.usage_in_bytes")}[version]
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, (most, taken)):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{'total_' if version == 1 else ''}inactive_file {idle}\n")


@pytest.mark.parametrize("version", [1, 2])
def test_limits_of_control_groups(tmp_path, monkeypatch, version):
    """A scheduler limits the job, a container all of its processes: the least that is left counts."""
    root = tmp_path / "groups"
    known = [(str(root), *rest) for _, *rest in memory._GROUPS]
    monkeypatch.setattr(memory, "_GROUPS", tuple(known))
    (tmp_path / "self").write_text(f"7:pids:/x\n{'0::' if version == 2 else '4:memory:'}/job/step\n")
    assert min(memory._of_groups(str(tmp_path / "self"))) == 2**63
    groups(root / "job/step", version, "max" if version == 2 else 2**62, 700, 0)
    groups(root / "job", version, 1000, 700, 50)
    groups(root, version, 5000, 100, 0)
    assert min(memory._of_groups(str(tmp_path / "self"))) == 350
    groups(root / "job", version, 1000, 1200, 50)
    assert min(memory._of_groups(str(tmp_path / "self"))) == 0
    assert memory._of_groups(str(tmp_path / "missing")) == [2**63]


def test_rows_come_few_at_a_time_on_a_cpu_and_none_is_lost():
    maps = torch.arange(50).float().view(50, 1, 1).expand(50, 224, 224)
    parts = list(memory.few_rows(maps, maps[:, 0]))
    assert [len(part) for part, _ in parts] == [20, 20, 10]
    for index in (0, 1):
        assert torch.equal(torch.cat([part[index] for part in parts]), (maps, maps[:, 0])[index])
    assert [len(part) for (part,) in memory.few_rows(torch.ones(3, 4096, 4096))] == [1, 1, 1]
    assert [part.shape for (part,) in memory.few_rows(maps[:0])] == [(0, 224, 224)]
