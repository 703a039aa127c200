"""Random loops (random_loops.py), converted and run beside native TensorFlow. A long run of other seeds:

TFTRT_RANDOM_LOOPS=1000 TFTRT_RANDOM_SEED=5000 pytest tests/python/test_random_loops.py
"""

import os
import time
import traceback

import random_loops
from conftest import _convert_function

COUNT = 16


def test_random_loops(capsys, stats):
    start, wrong = time.monotonic(), []
    engines = stay = inside = 0
    first, count = int(os.environ.get("TFTRT_RANDOM_SEED", "0")), int(os.environ.get("TFTRT_RANDOM_LOOPS", COUNT))
    for seed in range(first, first + count):
        try:
            found, converted = random_loops.run(seed, _convert_function)
        except Exception:  # noqa: BLE001 - whatever it is, the seed has to be told, and the others run
            wrong.append(f"seed {seed}\n{traceback.format_exc(limit=-4)}")
            continue
        engines += len(converted.engines)
        stay += sum(op == "LoopCond" for op in converted.outside)
        inside += sum(converted.called(engine).count("StatelessWhile") for engine in converted.engines)
        if found:
            wrong.append("\n  ".join([f"seed {seed}", *found]))
    with capsys.disabled():
        took = time.monotonic() - start
        print(f"\n{count} graphs of loops from seed {first} on, {engines} engines, {stay} loops stay, {inside} in engines, {took:.0f} s")
    assert not wrong, "\n\n".join(wrong)
    assert min(engines, stay, inside) * 2 >= count, "graphs without engines, native loops, and loops in engines test nothing"
    assert stats["engine_calls"] > engines and stats["builds"] > 0
