"""What of the single ops the table of cases cannot show: frozen variables, a setting, the words for what is refused."""

import op_cases_single
import pytest
import tensorflow as tf
from conftest import assert_close
from op_cases import f32, i32, raw, spec, weights
from tensorflow.compiler.tf2tensorrt import _pywrap_py_utils as pywrap
from test_convert_direct import segment, to_onnx

import tftrt  # noqa: F401 - registers the plugin


def test_a_gathered_variable_is_a_frozen_table(convert_function):
    """ResourceGather, which Keras' embeddings are made of, is GatherV2 of a constant by the time that the optimizer sees it."""
    table = tf.Variable(weights(7, 4))

    def rows(i):
        return tf.nn.relu(tf.gather(table, i)) * 2.0

    converted = convert_function(rows, [spec([None, None], i32)])
    names = {node.op for node in tf.function(rows).get_concrete_function(spec([None, None], i32)).graph.as_graph_def().node}
    assert "ResourceGather" in names
    assert "GatherV2" in converted.segment(converted.engines[0])
    i = tf.constant([[0, 6, 3], [2, 2, 1]])
    assert_close(converted(i), converted.native(i))


def test_more_boxes_by_the_users_word(convert_function, stats, monkeypatch):
    """Above 4096 boxes suppression is native, until TF_TRT_ALLOW_NMS_TOPK_OVERRIDE says otherwise."""
    fn, specs = op_cases_single.combined(5, 10), [spec([None, 5000, 1, 4]), spec([None, 5000, 1])]
    assert convert_function(fn, specs).engines == []
    monkeypatch.setenv("TF_TRT_ALLOW_NMS_TOPK_OVERRIDE", "1")
    converted = convert_function(fn, specs)
    inputs = [tf.constant(op_cases_single.boxes(2, 5000, 1)), tf.constant(op_cases_single.scores(2, 5000, 1))]
    converted.build(inputs)
    assert_close(converted(*inputs), converted.native(*inputs))
    assert stats["native_fallbacks"] == 0
    # An open number of boxes, too.
    open_specs = [spec([None, None, 1, 4]), spec([None, None, 1])]
    converted = convert_function(fn, open_specs)
    converted.build(inputs, [inputs[0][:1, :9], inputs[1][:1, :9]])
    for rows in (5000, 9, 700):
        few = [inputs[0][:, :rows], inputs[1][:, :rows]]
        assert_close(converted(*few), converted.native(*few))


REFUSED = {
    "Where": (lambda x: tf.where(x > 0.0), "hangs on the values"),
    "UniqueV2": (lambda x: raw.UniqueV2(x=x[0], axis=[0])[0], "hangs on the values"),
    "NonMaxSuppressionV3": (lambda x: tf.image.non_max_suppression(x, x[:, 0], 3), "NonMaxSuppressionV4 and V5 with pad_to_max_output_size"),
    "Lgamma": (lambda x: tf.math.lgamma(x), "Neither ONNX nor TensorRT has this function."),
    "UnsortedSegmentSum": (lambda x: tf.math.unsorted_segment_sum(x, [0, 1, 0], 2), "TensorRT's scatter only writes"),
    "RandomUniform": (lambda x: x + tf.random.uniform([3, 4]), "random numbers"),
    "MatrixInverse": (lambda x: tf.linalg.inv(x[:, :3]), "neither solves equations nor decomposes matrices"),
    "AsString": (lambda x: tf.strings.length(tf.strings.as_string(x)), "Strings"),
    "PopulationCount": (lambda x: tf.cast(raw.PopulationCount(x=tf.cast(x, i32)), f32), "bits of integers"),
}


@pytest.mark.parametrize("op", sorted(REFUSED))
def test_the_report_says_why_an_op_is_refused(op, tmp_path):
    fn, words = REFUSED[op]
    definition, _ = segment(fn, [spec([3, 4])], fold=False)
    paths, said = to_onnx(tmp_path, {"refused": definition})
    assert not paths
    assert f"({op}) cannot be converted: " in said and words in said, said


def test_refused_ops_are_not_among_the_converters():
    listed = set(pywrap.get_registered_op_converters())
    assert {"CombinedNonMaxSuppression", "CropAndResize", "ResizeBicubic", "Einsum"} <= listed
    assert not listed & set(REFUSED)


def test_an_einsum_of_nothing_ends_no_process(run_isolated):
    """ONNX Runtime divides by the size there: such calls run natively."""
    code = """
        import tensorflow as tf
        from conftest import _convert_function, assert_close
        import tftrt
        specs = [tf.TensorSpec([None, None, 2, 4])] * 2
        converted = _convert_function(lambda x, y: tf.einsum("btnh,bsnh->bnts", x, y), specs)
        inputs = [[tf.random.normal([n, t, 2, 4]) for t in (3, 5)] for n in (2, 0)]
        converted.build(*inputs)
        for x in inputs:
            assert_close(converted(*x), converted.native(*x))
        print("fallbacks", tftrt.stats()["totals"]["native_engine_failed"])
    """
    import gpu_support

    done = run_isolated(code, env=gpu_support.environment())
    assert done.stdout.split()[-2:] == ["fallbacks", "1"]
