"""plan_inputs.py against the library: a plan run on the files alone gives what native TensorFlow gives for the arguments."""

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from tensorflow.python.compiler.tensorrt import trt_convert as trt

import plan_inputs
from conftest import assert_close


def values(batch):
    """Arguments of one shape and type, so that only their values tell them apart; and one of another."""
    rng = np.random.default_rng(batch)
    drawn = {name: rng.integers(-9, 9, (batch, 4), np.int32) for name in ("ids", "mask", "segs")}
    return drawn | {"scale": rng.random((batch, 1), np.float32)}


def save(folder, fn, *specs):
    """`fn` of named arguments, converted and built for batches of 2 and 5, with a profile for each."""
    module = tf.Module()
    module.fn = tf.function(fn)
    concrete = module.fn.get_concrete_function(*specs)
    tf.saved_model.save(module, str(folder / "native"), signatures=concrete)
    converter = trt.TrtGraphConverterV2(
        input_saved_model_dir=str(folder / "native"), use_dynamic_shape=True, dynamic_shape_profile_strategy="Optimal", minimum_segment_size=1
    )
    converter.convert()
    converter.build(input_fn=lambda: ({s.name: tf.constant(values(batch)[s.name]) for s in specs} for batch in (2, 5)))
    converter.save(str(folder / "converted"))
    return folder / "converted"


def named(name, dtype=tf.int32, width=4):
    return tf.TensorSpec([None, width], dtype, name=name)


def mixed(ids, mask, scale, segs):
    """Needs the last argument first."""
    return {"y": tf.cast(100 * segs - 10 * mask + ids, tf.float32) * scale}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    specs = named("ids"), named("mask"), named("scale", tf.float32, 1), named("segs")
    return save(tmp_path_factory.mktemp("saved"), mixed, *specs)


def test_a_plan_run_on_its_files_gives_what_tensorflow_gives(saved, tmp_path):
    (plan,) = plan_inputs.extract(saved, tmp_path, values)
    assert sorted(plan["arguments"]) == ["ids", "mask", "scale", "segs"]
    session = onnxruntime.InferenceSession(plan["file"], providers=["CPUExecutionProvider"])
    types = {"tensor(int32)": np.int32, "tensor(float)": np.float32}
    profiles = [profile["shapes"] for profile in plan["header"]["profiles"]]
    assert len(profiles) == len(plan["inputs"]) == 2
    for batch, shapes, files in zip((2, 5), profiles, plan["inputs"], strict=True):
        # The backend's own order: its inputs are numbered as the node's are.
        inputs = sorted(session.get_inputs(), key=lambda x: int(x.name.rsplit("_", 1)[1]))
        feed = {x.name: np.fromfile(f, types[x.type]).reshape(s["opt"]) for x, s, f in zip(inputs, shapes, files, strict=True)}
        (found,) = session.run(None, feed)
        assert_close(found, mixed(**values(batch))["y"])


def test_inputs_of_another_shape_or_type_are_refused(saved, tmp_path):
    def wrong(change):
        return lambda batch: {name: change(value) if name == "segs" else value for name, value in values(batch).items()}

    with pytest.raises(ValueError, match=r"\(segs\) of profile 0: it takes int32 \(2, 4\), and int32 \(2, 3\) was given"):
        plan_inputs.extract(saved, tmp_path, wrong(lambda value: value[:, :3]))
    with pytest.raises(ValueError, match=r"\(segs\) of profile 0: it takes int32 \(2, 4\), and int64 \(2, 4\) was given"):
        plan_inputs.extract(saved, tmp_path, wrong(lambda value: value.astype(np.int64)))


def test_an_input_that_is_no_argument_is_told(tmp_path):
    """What lies between the argument and the engine is not run, so there is no file to be had."""

    def fn(ids):
        return {"y": tf.sort(ids) + 1}

    folder = save(tmp_path, fn, named("ids"))
    with pytest.raises(ValueError, match=r"input 0 of TRTEngineOp_\d+_\d+: it is an output of \S+ \(TopKV2\) in \S+, and an argument"):
        plan_inputs.extract(folder, tmp_path / "plans", values)


def test_a_node_or_signature_that_is_not_there_is_told(saved):
    with pytest.raises(ValueError, match="expected one TRTEngineOp TRTEngineOp_000_007 .* found 0"):
        plan_inputs.arguments(saved, "TRTEngineOp_000_007")
    with pytest.raises(ValueError, match="no signature other, only .*serving_default"):
        plan_inputs.arguments(saved, "TRTEngineOp_000_000", "other")
