"""LastCheckpoint: what an interrupted training goes on from."""

from lightning.pytorch.callbacks import ModelCheckpoint


class LastCheckpoint(ModelCheckpoint):
    """Keeps the latest epoch as ``last.ckpt``, whether it was the best or not.

    ``save_last`` of a ModelCheckpoint that monitors a metric is renewed only when the best is. A class of its own, so
    that it lives beside any other ModelCheckpoint: Lightning tells them apart by class and settings.
    """

    def __init__(self) -> None:
        super().__init__(filename="last", enable_version_counter=False)
