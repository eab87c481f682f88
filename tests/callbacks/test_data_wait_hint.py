"""What LoaderWatch says when training waits: figures, and advice that fits the loader and the machine."""

from types import SimpleNamespace

import pytest
from torch.utils.data import DataLoader

from livecam.callbacks import data_wait_monitor as module


def seen(seconds=100.0, waited=61.0, images=21_000, batches=20):
    return module._Stretch(seconds, waited, images, batches)


@pytest.mark.parametrize(
    ("workers", "cores", "devices", "known", "advice"),
    [
        (4, 16, 1, True, "Try --data.num_workers 11 (now 4, this machine has 16 cores)."),
        (4, 8, 1, True, "Try --data.num_workers 8 (now 4, this machine has 8 cores); if that is not enough, store the"),
        (4, 16, 1, False, "Try num_workers=11 (now 4"),
        (0, 16, 1, True, "Try --data.num_workers 2 (now 0, this"),
        (0, 1, 1, True, "Try --data.num_workers 1 (now 0, this machine has 1 core); if that is not enough, store"),
        (2, 16, 4, True, "Try --data.num_workers 4 (now 2, this machine has 16 cores for 4 processes); if that is not"),
        (4, 16, 4, True, "All cores are loading already (4 workers, this machine has 16 cores for 4 processes): store"),
        (
            8,
            4,
            1,
            True,
            "All cores are loading already (8 workers, this machine has 4 cores): store the photos smaller",
        ),
        (None, 4, 1, True, "Give it more worker processes, or store the photos smaller (docs/"),
    ],
)
def test_advice_fits_the_loader_and_the_machine(monkeypatch, workers, cores, devices, known, advice):
    monkeypatch.setattr(module, "_cores", lambda: cores)
    monkeypatch.setattr(module.os, "cpu_count", lambda: cores)
    loader = [1, 2] if workers is None else DataLoader([1])
    if workers is not None:
        loader.num_workers = workers  # not to the constructor, which warns of so many
    data = SimpleNamespace(num_workers=workers) if known else None
    trainer = SimpleNamespace(train_dataloader=loader, num_devices=devices, world_size=devices, datamodule=data)
    told = module._hint(seen(), trainer)
    assert f"it gave {210 * devices} images/s, the network could take {round(210 * devices / 0.39)})" in told
    assert advice in told and "\n" not in told


def test_cores_of_a_process_of_its_own_are_not_shared(monkeypatch):
    """Eight processes on 64 cores, each bound to eight of them."""
    monkeypatch.setattr(module, "_cores", lambda: 8)
    monkeypatch.setattr(module.os, "cpu_count", lambda: 64)
    loader = DataLoader([1])
    loader.num_workers = 4
    trainer = SimpleNamespace(train_dataloader=loader, num_devices=8, world_size=8, datamodule=None)
    assert "Try num_workers=8 (now 4, this machine has 8 cores)" in module._hint(seen(), trainer)
