"""Ends a run in which nothing moves, with the stacks of all threads."""

import faulthandler
import os
import sys
import time


class Watchdog:
    """`alive()` has to come at least every `patience` seconds, and every thread has to finish something in that time.

    The process ends with exit code 1 otherwise, with the Python stacks of all threads on the standard error, and what the kernel says of
    those that are not Python's. That works where a thread is stuck in C++ while it holds Python's lock, too: faulthandler needs none.
    """

    def __init__(self, patience: float):
        self.patience = patience
        self.alive()

    def alive(self) -> None:
        faulthandler.dump_traceback_later(self.patience, exit=True)

    def done(self) -> None:
        faulthandler.cancel_dump_traceback_later()

    def check(self, finished: dict[str, float]) -> None:
        """`finished`: when each thread last finished something, by `time.monotonic()`. Ends the process where that is too long ago."""
        late = {name: time.monotonic() - when for name, when in finished.items() if time.monotonic() - when > self.patience}
        if late:
            told = ", ".join(f"{name} for {seconds:.0f} s" for name, seconds in late.items())
            print(f"soak: nothing was finished by {told}; all threads:", file=sys.stderr)
            faulthandler.dump_traceback(all_threads=True)
            for task in sorted(os.listdir("/proc/self/task"), key=int):
                try:
                    with open(f"/proc/self/task/{task}/comm") as name, open(f"/proc/self/task/{task}/wchan") as where:
                        print(f"thread {task} ({name.read().strip()}): {where.read() or 'running'}", file=sys.stderr)
                except OSError:
                    pass  # It has ended by now.
            sys.stderr.flush()
            os._exit(1)
