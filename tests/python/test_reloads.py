"""A model that is loaded again, in one process: the version that goes takes nothing of the one that stays, and leaves nothing."""

import gc
import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.compiler.tensorrt import trt_convert as trt
from tensorflow.python.eager import context

from conftest import assert_close

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "soak"))
import memory

WEIGHTS = 4 * 1024 * 1024


class Wide(tf.Module):
    """[N, 1024] to [N, 1024], with 4 MB of weights."""

    def __init__(self, seed: int):
        super().__init__()
        self.w = tf.Variable(np.random.default_rng(seed).standard_normal((1024, 1024)).astype(np.float32) / 32)

    @tf.function(input_signature=[tf.TensorSpec([None, 1024], tf.float32, name="x")])
    def __call__(self, x):
        return {"y": tf.nn.relu(tf.matmul(x, self.w)) + 1.0}


def rows(n: int) -> tf.Tensor:
    return tf.random.stateless_uniform([n, 1024], seed=[n, 0])


@pytest.fixture(scope="module")
def versions(tmp_path_factory) -> list[tuple[str, str]]:
    """Two versions of one model, native and converted: engines of the same name, for 1 to 6 rows, and other weights."""
    made = []
    for seed in (1, 2):
        folder = tmp_path_factory.mktemp("wide")
        tf.saved_model.save(Wide(seed), str(folder / "native"))
        converter = trt.TrtGraphConverterV2(input_saved_model_dir=str(folder / "native"), use_dynamic_shape=True)
        converter.convert()
        converter.build(lambda: iter([(rows(1),), (rows(6),)]))
        converter.save(str(folder / "converted"))
        made.append((str(folder / "native"), str(folder / "converted")))
        del converter
    name = pathlib.Path(made[0][1], "saved_model.pb").read_bytes()
    first, second = (next(pathlib.Path(folder, "assets").iterdir()) for _, folder in made)
    # The converter counts its engines; another process would have given the second version's the first one's name.
    old, new = (asset.name.removeprefix("trt-serialized-engine.").encode() for asset in (second, first))
    graph = pathlib.Path(made[1][1], "saved_model.pb")
    assert len(old) == len(new) and new in name
    graph.write_bytes(graph.read_bytes().replace(old, new))
    second.rename(second.with_name(first.name))
    gc.collect()
    return made


def answer(model, n: int) -> np.ndarray:
    return model.signatures["serving_default"](x=rows(n))["y"].numpy()


def test_the_version_that_goes_leaves_the_new_one_its_engines(versions, stats, monkeypatch):
    monkeypatch.setenv("TFTRT_BUILD", "never")
    native, converted = versions[0]
    expected = answer(tf.saved_model.load(native), 5)
    model = tf.saved_model.load(converted)
    for _ in range(3):
        new = tf.saved_model.load(converted)
        assert_close(answer(model, 5), expected)
        model = new
        del new
        gc.collect()
        assert_close(answer(model, 5), expected)
    assert stats["engine_calls"] == 6 and stats["loads"] == 1 and stats["native_no_engine"] == 0
    del model
    gc.collect()
    assert stats["engines"] == 0


def test_other_weights_under_the_same_name_come_and_go(versions, stats, monkeypatch):
    monkeypatch.setenv("TFTRT_BUILD", "never")
    expected = [answer(tf.saved_model.load(native), 5) for native, _ in versions]
    held = [None, None]
    for which in (0, 1, 0, 1):
        held[which] = tf.saved_model.load(versions[which][1])
        assert_close(answer(held[which], 5), expected[which])
        # The other version goes: its engine with it, not later than when the next one comes.
        held[1 - which] = None
        gc.collect()
        assert_close(answer(held[which], 5), expected[which])
        assert stats["engines"] <= 2
    assert stats["native_no_engine"] == 0 and stats["engine_calls"] == 8
    held.clear()
    gc.collect()
    assert stats["engines"] == 0


def test_the_converter_may_go_before_what_it_saved(dense_model, stats, tmp_path, monkeypatch):
    converter = trt.TrtGraphConverterV2(input_saved_model_dir=dense_model, use_dynamic_shape=True)
    converter.convert()
    converter.build(lambda: iter([(np.ones([1, 8], np.float32),), (np.ones([6, 8], np.float32),)]))
    converter.save(str(tmp_path / "saved"))
    model = tf.saved_model.load(str(tmp_path / "saved"))
    monkeypatch.setenv("TFTRT_BUILD", "never")
    stats.reset()
    del converter
    gc.collect()
    model.signatures["serving_default"](x=np.ones([3, 8], np.float32))
    assert stats["engine_calls"] == 1 and stats["native_no_engine"] == 0


@pytest.mark.parametrize("how", ["engines", "native segments"])
def test_versions_that_went_leave_no_memory(how, versions, stats, monkeypatch):
    """Neither the engine's weights, nor those of the native segment, nor those in Python's graphs."""
    monkeypatch.setenv("TFTRT_BUILD", "never")
    n = 5 if how == "engines" else 9

    def reload():
        model = tf.saved_model.load(versions[0][1])
        answer(model, n)
        del model
        gc.collect()

    for _ in range(3):
        reload()
    before, functions = memory.allocated(), len(context.context().list_function_names())
    for _ in range(6):
        reload()
    grown = memory.allocated() - before
    print(f"{how}: {grown / 6:.0f} bytes a reload")
    assert stats["engine_calls" if how == "engines" else "native_no_engine"] == 9
    assert grown < WEIGHTS, "one version's weights over six reloads"
    assert len(context.context().list_function_names()) == functions
    assert stats["engines"] == 0
