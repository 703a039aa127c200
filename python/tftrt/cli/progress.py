"""Progress on stderr: a line when a long step begins to take long, and one with its time when it is done."""

import contextlib
import sys
import threading
import time

_EVERY_SECONDS = 10.0


def note(text: str) -> None:
    """One line on stderr."""
    print(f"tftrt: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(what: str):
    """Says `what` and, at the end, how long it took; every ten seconds in between it says that it still goes on."""
    begun = time.monotonic()
    done = threading.Event()

    def tick():
        while not done.wait(_EVERY_SECONDS):
            note(f"{what}: {time.monotonic() - begun:.0f} s so far")

    ticker = threading.Thread(target=tick, name="tftrt-progress", daemon=True)
    ticker.start()
    try:
        yield
    finally:
        done.set()
        ticker.join()
    note(f"{what}: {time.monotonic() - begun:.1f} s")
