"""The caches on disk, and when engines are built: TFTRT_CACHE_DIR, TFTRT_CACHE_READONLY, TFTRT_CACHE_MAX_BYTES, TFTRT_BUILD. Each process is a fresh one."""

import pathlib
from concurrent.futures import ThreadPoolExecutor

import pytest

import gpu_support
from gpu_support import TOLERANCE, only_tensorrt

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def device():
    return gpu_support.device_name()


BUILD_AND_CALL = """
    from gpu_support import batch, dense, dense_specs, result
    converted = conftest._convert_function(dense, dense_specs())
    converted.build([batch(1)], [batch(6)])
    worst = 0.0
    for n in (1, 6, 3):
        expected = result(converted.native, batch(n))
        worst = max(worst, float(np.abs(result(converted, batch(n)) - expected).max() / np.abs(expected).max()))
    tell(worst=worst, **tftrt.stats()["totals"])
"""


def build_and_call(run_isolated, cache, **env):
    """A process that needs one engine: its counters, and its log. The results are right whatever the cache holds."""
    told, log = gpu_support.isolated(run_isolated, BUILD_AND_CALL, TFTRT_CACHE_DIR=str(cache), **env)
    assert told["worst"] <= TOLERANCE
    # build() makes one call of its own.
    assert told["engine_calls"] == 4 and told["failures"] == 0 and told["native_no_engine"] == 0
    return told, log


def files(folder) -> dict:
    """The contents of all files under a folder, by path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(pathlib.Path(folder).rglob("*")) if p.is_file()}


def from_disk(told) -> bool:
    return told.get("disk_engine_hits", 0) == 1


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache that one process has filled."""
    import conftest

    gpu_support.device_name()
    cache = tmp_path_factory.mktemp("filled") / "cache"
    told, _ = build_and_call(conftest._run_isolated, cache)
    assert told["builds"] == 1 and not from_disk(told)
    return cache


def copied(filled, tmp_path):
    cache = tmp_path / "cache"
    for name, content in files(filled).items():
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_bytes(content)
    return cache


@only_tensorrt
def test_a_second_process_builds_nothing(filled, tmp_path, run_isolated):
    cache = copied(filled, tmp_path)
    assert any("engines" in name for name in files(cache)), list(files(cache))
    told, _ = build_and_call(run_isolated, cache)
    assert from_disk(told)


@only_tensorrt
@pytest.mark.parametrize("damage", ["bit_flipped", "truncated", "emptied"])
def test_damaged_files_are_ignored_with_a_word_and_replaced(damage, filled, tmp_path, run_isolated):
    cache = copied(filled, tmp_path)
    names = list(files(cache))
    for name, content in files(cache).items():
        middle = len(content) // 2
        changed = {"bit_flipped": content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :] if content else b""}
        changed |= {"truncated": content[:middle], "emptied": b""}
        (cache / name).write_bytes(changed[damage])
    told, log = build_and_call(run_isolated, cache)
    assert told["builds"] == 1 and not from_disk(told)
    assert any(name.rsplit("/", 1)[-1] in log for name in names), log[-3000:]
    if damage == "bit_flipped":
        told, _ = build_and_call(run_isolated, cache)
        assert from_disk(told)


@only_tensorrt
def test_other_settings_have_other_engines(filled, tmp_path, run_isolated):
    cache = copied(filled, tmp_path)
    told, _ = build_and_call(run_isolated, cache, TFTRT_BUILDER_OPTIMIZATION_LEVEL="1")
    assert told["builds"] == 1 and not from_disk(told)


@only_tensorrt
def test_engines_beyond_the_bound_go(filled, tmp_path, run_isolated):
    cache = copied(filled, tmp_path)
    before = {name for name in files(cache) if name.endswith(".plan")}
    told, _ = build_and_call(run_isolated, cache, TFTRT_BUILDER_OPTIMIZATION_LEVEL="1", TFTRT_CACHE_MAX_BYTES="1")
    assert told["builds"] == 1 and not from_disk(told)
    after = {name for name in files(cache) if name.endswith(".plan")}
    assert len(before) == len(after) == 1 and before != after, (before, after)


@pytest.mark.parametrize("full", [False, True], ids=["empty", "full"])
def test_read_only_writes_nothing(full, filled, tmp_path, run_isolated):
    cache = copied(filled, tmp_path) if full else tmp_path / "cache"
    if not full:
        cache.mkdir()
    before = files(cache)
    told, _ = build_and_call(run_isolated, cache, TFTRT_CACHE_READONLY="true")
    assert files(cache) == before
    if not gpu_support.REHEARSAL:
        assert from_disk(told) == full


def test_a_cache_that_cannot_be_written_is_no_fault_of_the_calls(tmp_path, run_isolated):
    """Its directory is a file."""
    cache = tmp_path / "cache"
    cache.write_text("not a directory")
    told, _ = build_and_call(run_isolated, cache)
    assert told["builds"] == 1
    assert cache.read_text() == "not a directory"


def test_two_processes_that_build_at_once(tmp_path, run_isolated):
    cache = tmp_path / "cache"
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: build_and_call(run_isolated, cache), range(2)))
    for told, _ in both:
        assert max(told["builds"], told.get("disk_engine_hits", 0)) == 1
    leftovers = [name for name in files(cache) if "tmp" in name.lower()] if cache.exists() else []
    assert leftovers == []
    if not gpu_support.REHEARSAL:
        told, _ = build_and_call(run_isolated, cache)
        assert from_disk(told)


def test_in_the_background(tmp_path, run_isolated):
    """Calls of a shape that no engine serves run natively until the one that is built meanwhile takes over."""
    told, _ = gpu_support.isolated(
        run_isolated,
        """
        import time
        from gpu_support import batch, dense, dense_specs, result
        converted = conftest._convert_function(dense, dense_specs(), dynamic=False, maximum_cached_engines=2)
        worst = 0.0
        for n in (4, 9):
            expected = result(converted.native, batch(n))
            before, end, calls = dict(tftrt.stats()["totals"]), time.monotonic() + 60, 0
            while tftrt.stats()["totals"]["engine_calls"] == before["engine_calls"] and time.monotonic() < end:
                worst = max(worst, float(np.abs(result(converted, batch(n)) - expected).max() / np.abs(expected).max()))
                calls += 1
                if calls == 1:
                    tell(**{f"first {n}": tftrt.stats()["totals"]["engine_calls"] - before["engine_calls"]})
                time.sleep(0.01)
            after = tftrt.stats()["totals"]
            tell(**{f"switched {n}": after["engine_calls"] - before["engine_calls"], f"native {n}": after["native_building"] - before["native_building"]})
            # From here on nothing is native.
            for _ in range(5):
                worst = max(worst, float(np.abs(result(converted, batch(n)) - expected).max() / np.abs(expected).max()))
            tell(**{f"stays {n}": tftrt.stats()["totals"]["engine_calls"] - after["engine_calls"]})
        tell(worst=worst, **tftrt.stats()["totals"])
        """,
        TFTRT_BUILD="background",
        TFTRT_CACHE_DIR=str(tmp_path / "cache"),
    )
    assert told["worst"] <= TOLERANCE
    for n in (4, 9):
        assert told[f"first {n}"] == 0 and told[f"native {n}"] >= 1
        assert told[f"switched {n}"] == 1 and told[f"stays {n}"] == 5
    assert told["builds"] == 2 and told["failures"] == 0


def test_never(tmp_path, run_isolated):
    told, log = gpu_support.isolated(
        run_isolated,
        """
        from gpu_support import batch, dense, dense_specs, result
        converted = conftest._convert_function(dense, dense_specs())
        worst = 0.0
        for n in (1, 2, 3, 3):
            expected = result(converted.native, batch(n))
            worst = max(worst, float(np.abs(result(converted, batch(n)) - expected).max() / np.abs(expected).max()))
        tell(worst=worst, **tftrt.stats()["totals"])
        """,
        TFTRT_BUILD="never",
        TFTRT_CACHE_DIR=str(tmp_path / "cache"),
    )
    assert told["worst"] <= TOLERANCE
    assert told["builds"] == 0 and told["engine_calls"] == 0 and told["native_no_engine"] == 4
    assert "TFTRT_BUILD" in log
