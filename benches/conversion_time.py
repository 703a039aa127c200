"""What a conversion of BERT-base costs: the pass `TensorRTOptimizer` (optimizer and segmenter), beside TensorFlow's own passes.

    .venv/bin/python benches/conversion_time.py [runs]

The encoder of tests/python/models.py (12 layers, hidden size 768, 436 MB of weights) is frozen and goes through Grappler with the
configuration of the stock front end. The times are Grappler's own; everything that the pass is asked is in them: the graph, and the
functions that come after it. The share is of the whole call, so that it means something on a busy machine, too.
"""

import os
import pathlib
import re
import subprocess
import sys
import time

TESTS = pathlib.Path(__file__).resolve().parents[1] / "tests" / "python"


def convert(runs: int) -> None:
    """In a process of its own, whose standard error is read."""
    sys.path.insert(0, str(TESTS))
    import models
    from tensorflow.core.protobuf import config_pb2
    from tensorflow.python.compiler.tensorrt import trt_convert
    from tensorflow.python.framework import convert_to_constants
    from tensorflow.python.grappler import tf_optimizer
    from tensorflow.python.training import saver

    import tftrt  # noqa: F401 - it registers the pass

    function, specs = models.bert()
    frozen = convert_to_constants.convert_variables_to_constants_v2(function.get_concrete_function(*specs))
    meta_graph = saver.export_meta_graph(graph_def=frozen.graph.as_graph_def(), graph=frozen.graph)
    meta_graph.collection_def["train_op"].node_list.value.extend(tensor.name for tensor in frozen.inputs + frozen.outputs)
    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.CopyFrom(
        trt_convert._get_tensorrt_rewriter_config(
            conversion_params=trt_convert.TrtConversionParams(
                max_workspace_size_bytes=1 << 30,
                precision_mode="FP32",
                minimum_segment_size=3,
                maximum_cached_engines=1,
                use_calibration=False,
                allow_build_at_runtime=True,
            ),
            is_dynamic_op=True,
            use_implicit_batch=False,
            profile_strategy="range",
        )
    )
    for _ in range(runs):
        begun = time.perf_counter()
        graph = tf_optimizer.OptimizeGraph(config, meta_graph, graph_id=b"tf_graph")
        taken = time.perf_counter() - begun
        engines = sum(node.op == "TRTEngineOp" for node in graph.node)
        print(f"call: {taken:.3f} s, {engines} engines", file=sys.stderr, flush=True)


def main() -> None:
    runs = sys.argv[1] if len(sys.argv) > 1 else "5"
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "0", "TF_CPP_VMODULE": "meta_optimizer=1"}
    done = subprocess.run([sys.executable, __file__, "--child", runs], env=environment, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    passed = 0.0
    # Grappler logs each pass as it ends, and all of them once more when the call is over: there without a prefix.
    for line in done.stderr.splitlines():
        if found := re.match(r"\s+TensorRTOptimizer: .* time = ([\d.]+)ms", line):
            passed += float(found[1]) / 1e3
        elif found := re.match(r"call: ([\d.]+) s, (\d+) engines", line):
            whole = float(found[1])
            print(f"TensorRTOptimizer {passed:.3f} s of {whole:.1f} s in Grappler ({100 * passed / whole:.1f} %), {found[2]} engine(s)")
            passed = 0.0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        convert(int(sys.argv[2]))
    else:
        main()
