"""Real processes for tests: the ranks of one training, as a launcher starts them; importable like `toys`."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def lightning_ranks(count: int = 2) -> list[dict[str, str]]:
    """The environment of each rank, as Lightning's own launcher sets it."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(count), "NODE_RANK": "0"}
    return [shared | {"LOCAL_RANK": str(rank)} for rank in range(count)]


def run_ranks(
    commands: Sequence[Sequence[str]], environments: Sequence[Mapping[str, str]], folders: Sequence[Path], limit: int
) -> list[str]:
    """Run one process per command to its end, all at once, and tell what each said.

    A process that fails ends the others, which would wait for it.
    """
    files = [folder / f"said{number}.txt" for number, folder in enumerate(folders)]
    started = []
    for command, environment, folder, file in zip(commands, environments, folders, files):
        quick = os.environ | {"OMP_NUM_THREADS": "1"} | dict(environment)
        with file.open("w") as said:
            process = subprocess.Popen(
                command, env=quick, cwd=folder, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
            )
            started.append(process)
    deadline = time.monotonic() + limit
    try:
        while any(process.poll() is None for process in started):
            failed = any(process.poll() for process in started)
            late = time.monotonic() > deadline
            said = "\n".join(f"--- {file.name}\n{file.read_text()[-4000:]}" for file in files) if failed or late else ""
            assert not failed, f"a process failed\n{said}"
            assert not late, f"not done after {limit} s: do ranks wait for each other?\n{said}"
            time.sleep(0.05)
    finally:
        # Politely first: torchrun ends its processes, which are in sessions of their own.
        for how, patience in ((signal.SIGTERM, 40), (signal.SIGKILL, None)):
            for process in started:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, how)
            for process in started:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(patience)
    told = [file.read_text() for file in files]
    assert not any(process.returncode for process in started), "\n".join(text[-4000:] for text in told)
    return told


def run_script(script: Path, folder: Path, *words: str, limit: int = 300) -> list[str]:
    """Run a script of ours as two ranks."""
    command = [sys.executable, str(script), str(folder), *words]
    return run_ranks([command] * 2, lightning_ranks(), [folder] * 2, limit)
