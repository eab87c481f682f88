"""Work that need not hold up its caller: jobs done one after the other, in a thread of their own."""

import contextlib
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable

Job = Callable[[], object]


class Background:
    """Does jobs in the order in which they are handed over, a bounded number of them waiting.

    The thread lives only while there are jobs: an interpreter that ends waits for the last one and for nothing else,
    also after an exception. A forked process starts with none: what its parent handed over, its parent does.

    Args:
        most: How many jobs may wait; whoever hands over one more waits for a place.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        # Also a new lock: the thread, which a fork leaves behind, may have held the old one.
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._given = self._done = 0
        self._thread: threading.Thread | None = None

    def put(self, job: Job) -> None:
        """Hand over a job; whatever it raises is told as a warning, and the next one follows."""
        with self._changed:
            self._see_to_it()
            self._changed.wait_for(lambda: len(self._waiting) < self._most)
            self._waiting.append(job)
            self._given += 1
            self._see_to_it()

    def drain(self) -> None:
        """Wait until all jobs handed over so far are done."""
        with self._changed:
            last = self._given
            self._see_to_it()
            self._changed.wait_for(lambda: self._done >= last)

    def _see_to_it(self) -> None:
        """Have a living thread if there is anything to do."""
        if not self._waiting or (self._thread is not None and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self._work, name="livecam background", daemon=False)
        try:
            self._thread.start()
        except RuntimeError:
            # At the limit of threads, or while the interpreter ends: then the caller does it.
            self._work()

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._thread = None
                    return
                job = self._waiting.popleft()
                self._changed.notify_all()
            try:
                job()
            except BaseException as error:
                # Nobody is above to whom it could be raised, nor a warning where warnings are errors.
                with contextlib.suppress(Warning):
                    warnings.warn(f"Work in the background failed: {error!r}", stacklevel=1)
            del job
            with self._changed:
                self._done += 1
                self._changed.notify_all()
