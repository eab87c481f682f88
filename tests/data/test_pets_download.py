"""OxfordPets gets its data by one flag: once, whole, and by one process of several."""

import os
import subprocess
import sys
import tarfile

import pytest
import torchvision
from pets_tree import build, plant, refused


@pytest.fixture
def root(tmp_path):
    return plant(tmp_path / "pets")


@pytest.fixture
def archives(root, tmp_path):
    """The tree as torchvision's two archives, in a folder of their own."""
    folder = tmp_path / "archives"
    folder.mkdir()
    for part in ("images", "annotations"):
        with tarfile.open(folder / f"{part}.tar.gz", "w:gz") as archive:
            archive.add(root / "oxford-iiit-pet" / part, part)
    return folder


def fetched_from(archives, monkeypatch):
    """Let torchvision fetch from there; returns the list of what it fetched."""
    fetched = []

    def fetch(url, download_root, md5):
        fetched.append(url.rpartition("/")[2])
        os.makedirs(download_root, exist_ok=True)
        with tarfile.open(archives / fetched[-1]) as archive:
            archive.extractall(download_root, filter="data")

    monkeypatch.setattr(torchvision.datasets.oxford_iiit_pet, "download_and_extract_archive", fetch)
    return fetched


def test_one_flag_downloads_once(archives, tmp_path, monkeypatch):
    fetched, new = fetched_from(archives, monkeypatch), tmp_path / "new" / "pets"
    assert len(build(new, download=True).sets["test"]) == 6
    assert fetched == ["images.tar.gz", "annotations.tar.gz"]
    build(new, download=True)
    build(new)
    assert len(fetched) == 2


def test_an_interrupted_download_is_not_taken_for_whole(archives, tmp_path, monkeypatch):
    fetched, new = fetched_from(archives, monkeypatch), tmp_path / "new"
    # What is left where unpacking stopped half way.
    for part in ("images", "annotations"):
        (new / ".download" / "oxford-iiit-pet" / part).mkdir(parents=True)
    assert len(build(new, download=True).sets["test"]) == 6 and len(fetched) == 2


@pytest.mark.parametrize(
    "error", [OSError("Network is unreachable."), RuntimeError("File not found or corrupted.\nBye")]
)
def test_offline_is_one_sentence(tmp_path, monkeypatch, error):
    def fails(*args, **given):
        raise error

    monkeypatch.setattr(torchvision.datasets.oxford_iiit_pet, "download_and_extract_archive", fails)
    match = (
        r"could not be downloaded to .* \((Network is unreachable|File not found or corrupted)\): check the connection"
    )
    refused(match, tmp_path / "new", FileNotFoundError, download=True)


PROCESS = """
import sys, time, tarfile, os
from pathlib import Path
from torchvision.datasets import oxford_iiit_pet
from livecam.data import OxfordPets
archives, new = map(Path, sys.argv[1:])
def fetch(url, download_root, md5):
    os.makedirs(download_root, exist_ok=True)
    with open(archives / "log", "a") as log:
        log.write(url + "\\n")
    time.sleep(0.5)
    with tarfile.open(archives / url.rpartition("/")[2]) as archive:
        archive.extractall(download_root, filter="data")
oxford_iiit_pet.download_and_extract_archive = fetch
print(len(OxfordPets(str(new), download=True, val_fraction=0.25).sets["test"]))
"""


@pytest.mark.slow
def test_of_several_processes_one_downloads_and_the_others_wait(archives, tmp_path):
    command = [sys.executable, "-c", PROCESS, str(archives), str(tmp_path / "new")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=120)[0].strip() for process in processes] == ["6", "6"]
    assert len((archives / "log").read_text().splitlines()) == 2
