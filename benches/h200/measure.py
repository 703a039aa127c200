"""How calls are timed.

Latency: the median of 50 calls, after each of which one element of the output is read back. Pipelined: 50 calls, one read at the end,
divided by 50. Both after 10 calls of warm-up, on inputs that were made once. Times are in milliseconds.
"""

import statistics
import threading
import time

CALLS = 50
WARM_UP = 10


def read_one(output):
    """One element of a tensor, read back as a program would: an eager slice, then a copy to the host."""
    return output[(0,) * output.shape.rank].numpy()


def quartiles(values) -> dict:
    """Median, quartiles, smallest and largest."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return {"median": middle, "q1": low, "q3": high, "min": min(values), "max": max(values), "n": len(values)}


def warm_up(call, calls: int = WARM_UP) -> None:
    for _ in range(calls):
        read_one(call())


def latencies(call, calls: int = CALLS, read=read_one) -> list[float]:
    times = []
    for _ in range(calls):
        begun = time.perf_counter()
        read(call())
        times.append((time.perf_counter() - begun) * 1e3)
    return times


def pipelined(call, calls: int = CALLS) -> float:
    begun = time.perf_counter()
    for _ in range(calls):
        output = call()
    read_one(output)
    return (time.perf_counter() - begun) * 1e3 / calls


def compare(calls: dict, rounds: int = 5, count: int = CALLS) -> dict:
    """Latency and pipelined time of several functions of no arguments, which take turns for `rounds` rounds: name to figures.

    `latency_ms` is the median of each round's median, `pipelined_ms` the median of the rounds; all rounds are beside them.
    """
    for call in calls.values():
        warm_up(call)
    figures = {name: {"latency_rounds_ms": [], "pipelined_rounds_ms": [], "latencies_ms": []} for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times = latencies(call, count)
            figures[name]["latencies_ms"] += times
            figures[name]["latency_rounds_ms"].append(statistics.median(times))
            figures[name]["pipelined_rounds_ms"].append(pipelined(call, count))
    for own in figures.values():
        own["latency_ms"] = statistics.median(own["latency_rounds_ms"])
        own["pipelined_ms"] = statistics.median(own["pipelined_rounds_ms"])
        own["latencies_ms"] = quartiles(own["latencies_ms"])
    return figures


def throughput(call, inputs: list, seconds: float) -> dict:
    """One thread for each of `inputs`, all calling at once for `seconds`; `call(input)` has to read its result back.

    Requests a second over all threads, and the latency of a request in milliseconds.
    """
    stop = threading.Event()
    start = threading.Barrier(len(inputs) + 1)
    times: list[list[float]] = [[] for _ in inputs]
    errors: list[str] = []

    def work(own, x):
        try:
            call(x)
            start.wait()
            while not stop.is_set():
                begun = time.perf_counter()
                call(x)
                own.append((time.perf_counter() - begun) * 1e3)
        except Exception as error:  # Told with the figures: the other threads' are still good to see.
            errors.append(f"{type(error).__name__}: {error}")
            start.abort()

    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in zip(times, inputs)]
    for thread in threads:
        thread.start()
    try:
        start.wait()
    except threading.BrokenBarrierError:
        return {"threads": len(inputs), "errors": errors}
    begun = time.perf_counter()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - begun
    every = [one for own in times for one in own]
    return {
        "threads": len(inputs),
        "requests_per_s": len(every) / taken,
        "latency_ms": quartiles(every) if every else None,
        "errors": errors,
    }
