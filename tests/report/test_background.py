"""Jobs in the background: in order, none lost, none waited for longer than it takes."""

import os
import subprocess
import sys
import threading
import warnings
from types import SimpleNamespace

import pytest

from livecam.report.html.background import Background


@pytest.fixture
def gate():
    """Jobs that wait for it hold the thread; opened in the end, whatever happens."""
    event = threading.Event()
    yield event
    event.set()


def test_jobs_are_done_in_order_by_one_thread():
    background, done, threads = Background(3), [], set()
    for number in range(200):
        background.put(lambda number=number: (done.append(number), threads.add(threading.current_thread())))
    background.drain()
    assert done == list(range(200)) and len(threads) == 1 and threading.current_thread() not in threads


def test_a_full_queue_makes_the_caller_wait_and_drops_nothing(gate):
    background, done, given = Background(2), [], []

    def give():
        for number in range(6):
            background.put(lambda number=number: done.append(number))
            given.append(number)

    background.put(gate.wait)
    caller = threading.Thread(target=give)
    caller.start()
    while len(given) < 2:
        caller.join(0.01)
    caller.join(0.05)
    assert given == [0, 1] and done == []
    gate.set()
    caller.join(10)
    background.drain()
    assert given == done == list(range(6))


def test_drain_waits_for_what_was_given_before_it_only(gate):
    background, done, opened = Background(10), [], threading.Event()
    background.put(lambda: (opened.wait(), background.put(gate.wait), done.append("first")))
    latest = background._latest
    # Opened once it is known what is waited for.
    background._latest = SimpleNamespace(result=lambda: (opened.set(), latest.result()))
    background.drain()
    assert done == ["first"]


@pytest.mark.parametrize("action", ["always", "error"])
@pytest.mark.parametrize("error", [RuntimeError("gone"), KeyboardInterrupt("gone"), SystemExit("gone")])
def test_a_job_that_fails_is_told_and_the_next_one_follows(error, action):
    background, done = Background(2), []

    def fail():
        raise error

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter(action)
        for job in (fail, lambda: done.append(1), fail, lambda: done.append(2)):
            background.put(job)
        background.drain()
    assert done == [1, 2]
    assert [str(one.message) for one in told] == [f"Work in the background failed: {error!r}"] * (
        2 * (action != "error")
    )


def test_without_a_thread_the_caller_does_it(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    background, done = Background(2), []
    monkeypatch.setattr(threading.Thread, "start", refuse)
    for number in range(5):
        background.put(lambda number=number: done.append(number))
    background.drain()
    assert done == list(range(5))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_leaves_its_parents_jobs_alone_and_has_its_own(gate, tmp_path):
    background, file = Background(10), tmp_path / "done"

    def note(word):
        with file.open("a") as stream:
            stream.write(f"{word} {os.getpid()}\n")

    background.put(gate.wait)
    background.put(lambda: note("parent"))
    # Forked while the lock is held, as it may be by the thread at any moment.
    with background._lock:
        child = os.fork()
    if child == 0:
        background.drain()
        background.put(lambda: note("child"))
        background.drain()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    gate.set()
    background.drain()
    assert file.read_text().splitlines() == [f"child {child}", f"parent {os.getpid()}"]


@pytest.mark.parametrize(("end", "code"), [("", 0), ("sys.exit(3)", 3), ("raise ValueError", 1)])
def test_an_interpreter_that_ends_waits_for_the_last_job(end, code):
    script = f"""
import atexit, sys, threading, time
from livecam.report.html.background import Background
background = Background(100)
# Handed over by a thread that nobody waits for, and after the interpreter has begun to end.
give = threading.Thread(target=lambda: [background.put(lambda: time.sleep(0.01)) for _ in range(20)], daemon=True)
give.start()
give.join()
background.put(lambda: print("last", flush=True))
atexit.register(lambda: (background.put(lambda: print("after", flush=True)), background.drain()))
{end}
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert told.stdout.split() == ["last", "after"] and told.returncode == code
