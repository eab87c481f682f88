"""Packed: the list that it was made of, in one block that loader processes share."""

import pytest
import torch

from livecam.data.photo_dataset import Photo
from livecam.data.serialized_list import SerializedList

PHOTOS = [Photo(f"Ünï/{i}.png", i % 3, ((0, 0, i, 1.5),) if i % 2 else None, (i + 1, 9)) for i in range(50)]


def test_it_is_the_list():
    packed = SerializedList(PHOTOS)
    assert list(packed) == PHOTOS and len(packed) == 50 and packed.nbytes > 50 * 8
    assert packed[-1] == PHOTOS[-1] and packed[3:7] == PHOTOS[3:7] and PHOTOS[5] in packed
    for wrong in (50, -51):
        with pytest.raises(IndexError):
            packed[wrong]
    assert list(SerializedList([])) == [] and not SerializedList([])


def test_it_can_be_made_of_a_stream():
    assert list(SerializedList(photo for photo in PHOTOS)) == PHOTOS


def _read(packed, answer):
    answer.put((packed[7].path, packed._block.is_shared()))


@pytest.mark.slow
def test_another_process_shares_its_memory():
    spawn = torch.multiprocessing.get_context("spawn")
    answer = spawn.Queue()
    process = spawn.Process(target=_read, args=(SerializedList(PHOTOS), answer))
    process.start()
    assert answer.get(timeout=60) == (PHOTOS[7].path, True)
    process.join()
