"""What watching needs of memory does not grow with the length of a training."""

import gc
from pathlib import Path

import pytest
import torch
from lightning import Callback

from livecam.callbacks import ExplanationGallery, ExplanationScores, FeatureMapGallery, LoaderWatch
from livecam.data import PlantedShapesData

STATUS = Path("/proc/self/status")


class Memory(Callback):
    """After some validations: tensors alive, their bytes, and the process's peak since the mark before."""

    def __init__(self) -> None:
        self.count = 0
        self.tensors: dict[int, tuple[int, int]] = {}
        self.peaks: dict[int, int] = {}

    def on_validation_end(self, trainer, pl_module):
        self.count += 1
        if self.count % 20:
            return
        gc.collect()
        # Not isinstance, which asks every object's class and wakes modules that torch loads on demand.
        alive = [each for each in gc.get_objects() if issubclass(type(each), torch.Tensor)]
        storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in alive}
        self.tensors[self.count] = len(alive), sum(storages.values())
        peak = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        self.peaks[self.count] = int(peak.split()[1])
        # Linux begins to count the peak anew.
        Path("/proc/self/clear_refs").write_text("5")


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="peaks are read from Linux's /proc")
def test_memory_is_flat_over_two_hundred_validations(make_trainer, picture_logger, shapes_module):
    data = PlantedShapesData(image_size=64, train_length=4, val_length=16, batch_size=8)
    memory, methods = Memory(), ["gradcam", "gradcam_pp"]
    watching = [ExplanationGallery(methods, samples=2, strict=True), FeatureMapGallery(samples=1, strict=True)]
    watching += [ExplanationScores(methods, strict=True), LoaderWatch(), memory]
    trainer = make_trainer(max_epochs=200, callbacks=watching, logger=picture_logger, num_sanity_val_steps=0)
    trainer.fit(shapes_module(), datamodule=data)
    assert memory.count == 200
    first, *_, last = (count for count in memory.tensors if count > 20)
    assert memory.tensors[last] == memory.tensors[first], "tensors are kept"
    grown = memory.peaks[last] - memory.peaks[first]
    print(f"peak of validations 181 to 200 less that of 21 to 40: {grown / 1024:+.1f} MiB")
    # The page's history of all scalars takes a few; one kept map per image and method would take 80, pictures more.
    assert grown < 10 * 1024
