"""A callback that stops a training where it is to be killed; named in a configuration, so it acts only when asked."""

import os
import time
from pathlib import Path

from lightning import Callback


class Hold(Callback):
    """Waits for ever in a batch that the environment names: ``HOLD=train:7`` or ``HOLD=val:1`` of ``HOLD_EPOCH``."""

    def _hold(self, trainer, kind, number):
        if os.environ.get("HOLD") == f"{kind}:{number}" and trainer.current_epoch == int(os.environ["HOLD_EPOCH"]):
            Path("held").touch()
            while True:
                time.sleep(1)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == 0 and os.environ.get("HOLD_EPOCH") == str(trainer.current_epoch):
            # The page is written once a second; what was logged in the last one is lost.
            time.sleep(1.1)
        self._hold(trainer, "train", batch_idx)

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        if not trainer.sanity_checking:
            self._hold(trainer, "val", batch_idx)
