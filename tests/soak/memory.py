"""What a process holds in memory, and how that grows."""

import ctypes
import os

PAGE = os.sysconf("SC_PAGE_SIZE")
# So many means of as many equal parts of the run are fitted: neighbouring samples are not independent (each reload is a step up and
# one down), and an error computed of them one by one would be too small.
PARTS = 20


class _Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


def allocated() -> int:
    """Bytes that glibc's malloc has given out and not got back, in all its arenas: resident memory without what malloc keeps for later.

    0 where the C library has no such count.
    """
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return 0
    mallinfo2.restype = _Mallinfo2
    info = mallinfo2()
    return info.uordblks + info.hblkhd


def device() -> int:
    """Bytes that TensorFlow has given out of its memory on the first GPU; engines have theirs from there. 0 without a GPU."""
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return 0
    return tf.config.experimental.get_memory_info("GPU:0")["current"]


def threads() -> int:
    """Threads of this process, Python's and all others."""
    return len(os.listdir("/proc/self/task"))


def line(x: list[float], y: list[float]) -> tuple[float, float, float, float]:
    """The least-squares line through the points: slope, its standard error, and the point (mean x, mean y) that it goes through."""
    n = len(x)
    mean_x, mean_y = sum(x) / n, sum(y) / n
    spread = sum((a - mean_x) ** 2 for a in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y)) / spread
    rest = sum((b - mean_y - slope * (a - mean_x)) ** 2 for a, b in zip(x, y))
    return slope, (rest / (n - 2) / spread) ** 0.5, mean_x, mean_y


def growth(x: list[float], y: list[float], warm: float = 1 / 3) -> tuple[float, float, float, float]:
    """`line` after the first `warm` part of the samples (for pools and caches to fill), through the means of PARTS parts."""
    x, y = x[int(len(x) * warm) :], y[int(len(y) * warm) :]
    parts = min(PARTS, len(x) // 2)
    if parts < 3:
        raise ValueError(f"{len(x)} samples after the warm-up are too few for a line")
    edges = [round(i * len(x) / parts) for i in range(parts + 1)]

    def means(values):
        return [sum(values[a:b]) / (b - a) for a, b in zip(edges, edges[1:])]

    return line(means(x), means(y))
