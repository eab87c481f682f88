"""Jobs in the background: in order, by one thread, none lost."""

import contextlib
import os
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

Job = Callable[[], object]


class Background:
    """Does jobs in the order in which they are handed over, a bounded number of them waiting.

    An interpreter that ends waits for the last job and for nothing else, also after an exception. A forked process
    starts with none: what its parent handed over, its parent does.

    Args:
        most: How many jobs may wait; whoever hands over one more waits for a place.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        # Also a new lock: a thread that a fork leaves behind may have held the old one.
        self._lock, self._places = threading.Lock(), threading.Semaphore(self._most)
        self._executor = ThreadPoolExecutor(1, "livecam background")
        self._latest: Future | None = None

    def put(self, job: Job) -> None:
        """Hand over a job; whatever it raises is told as a warning, and the next one follows."""
        self._places.acquire()
        with self._lock, contextlib.suppress(RuntimeError):
            self._latest = self._executor.submit(self._do, job)
            return
        # At the limit of threads, or while the interpreter ends: then the caller does it, after all before it.
        self.drain()
        self._executor = ThreadPoolExecutor(1, "livecam background")
        self._do(job)

    def drain(self) -> None:
        """Wait until all jobs handed over so far are done."""
        if self._latest is not None:
            self._latest.result()

    def _do(self, job: Job) -> None:
        self._places.release()
        try:
            job()
        except BaseException as error:
            # Nobody is above to whom it could be raised, nor a warning where warnings are errors.
            with contextlib.suppress(Warning):
                warnings.warn(f"Work in the background failed: {error!r}", stacklevel=1)
