"""Random graphs (random_graphs.py), converted and run beside native TensorFlow.

The same 60 seeds each time. For a long run of other seeds:

    TFTRT_RANDOM_GRAPHS=1000 TFTRT_RANDOM_SEED=50000 pytest tests/python/test_random_graphs.py

Seeds that once failed are kept in random_seeds.txt. A seed stands for a graph only as long as the steps draw as they did: what a
seed has found is also a small case of its own in op_cases_random.py.
"""

import os
import time
import traceback

import pytest
import random_graphs
import random_ops
from conftest import _convert_function
from op_cases import reasons

COUNT = 60


def seeds():
    count, first = int(os.environ.get("TFTRT_RANDOM_GRAPHS", COUNT)), int(os.environ.get("TFTRT_RANDOM_SEED", "0"))
    return range(first, first + count)


def fails(program):
    return random_graphs.run(program, _convert_function)[0]


def test_random_graphs(capsys):
    start, engines, names, wrong, done = time.monotonic(), 0, set(), [], 0
    numbers = seeds()
    for seed in numbers:
        program = random_graphs.grow(seed)
        names |= {step.name.split()[0] for step in program.steps}
        try:
            found, converted = random_graphs.run(program, _convert_function)
        except Exception:  # noqa: BLE001 - whatever it is, the seed has to be told, and the others run
            wrong.append(f"{program}\n{traceback.format_exc(limit=-4)}")
            continue
        finally:
            done += 1
        engines += len(converted.engines)
        if found:
            shown = random_graphs.shortest(program, fails) if len(wrong) < 5 else program
            wrong.append("\n  ".join([str(shown), *found]))
    with capsys.disabled():
        print(f"\n{done} random graphs from seed {numbers[0]} on, {engines} engines, {time.monotonic() - start:.0f} s")
    assert not wrong, "\n\n".join(wrong)
    assert engines >= done, "graphs without an engine test nothing"
    assert {op.name for op in random_ops.OPS} - names == set() or done < 200, "these steps never fit"


@pytest.mark.parametrize("seed", [int(seed) for seed in reasons("random_seeds.txt")])
def test_kept_seed(seed):
    program = random_graphs.grow(seed)
    assert fails(program) == [], str(program)


def test_a_graph_is_the_same_each_time():
    first, second = (random_graphs.grow(7) for _ in range(2))
    assert str(first) == str(second)
    assert all((a == b).numpy().all() for a, b in zip(first.inputs(1), second.inputs(1)))


def test_a_wrong_result_is_found():
    """The comparison, on results that are off by more than rounding, of another shape, or of another type."""
    program = random_graphs.grow(3)
    native = [program.values[i].runs[0][0].numpy() for i in program.outputs]
    assert random_graphs.differences(program, native, native, 0) == []
    for at, value in enumerate(native):
        if value.size == 0:
            continue
        changed = ~value if value.dtype == bool else value + value.dtype.type(1)
        for bad in (changed, value.astype("float64"), value[None]):
            assert len(random_graphs.differences(program, [*native[:at], bad, *native[at + 1 :]], native, 0)) == 1
