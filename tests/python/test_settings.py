"""Environment variables: a wrong value is said, with what is taken; what has no effect is said; verbose logging by module."""

import pathlib
import re
import subprocess

import pytest

from tftrt import _api

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# What is said of a value that is none, for each variable that does not take every text: wrong value, what it takes.
BOOLS = "none of true, false, 1, 0"
WRONG = {
    "TF_TRT_ALLOW_ENGINE_NATIVE_SEGMENT_EXECUTION": ("maybe", BOOLS),
    "TF_TRT_ABORT_CUDA_ENGINE_BUILD": ("yes", BOOLS),
    "TF_TRT_MAX_ALLOWED_ENGINES": ("many", "no whole number"),
    "TF_TRT_SHOW_DETAILED_REPORT": ("true", "a path for the CSV"),
    "TF_TRT_ENABLE_LAYOUT_OPTIMIZER": ("on", BOOLS),
    "TF_TRT_SPARSE_MODE": ("sparse", BOOLS),
    "TF_TRT_FIXED_ALGORITHM_ID": ("first", "no whole number"),
    "TF_DEBUG_TRT_ALLOW_INEFFICIENT_TRANSPOSE": ("2", BOOLS),
    "TF_TRT_EXPERIMENTAL_FEATURES": ("faster", "none of disable_graph_freezing, reject_all_fp_cast_ops, remove_native_segments"),
    "TF_TRT_ALLOW_NMS_TOPK_OVERRIDE": ("4096", BOOLS),
    "TFTRT_CACHE_READONLY": ("readonly", BOOLS),
    "TFTRT_CACHE_MAX_BYTES": ("16GB", "no whole number"),
    "TFTRT_BUILD": ("later", "none of inline, background, never"),
    "TFTRT_BUILD_THREADS": ("0", "not within 1 to 256"),
    "TFTRT_BUILD_QUEUE": ("many", "no whole number"),
    "TFTRT_CONTROL_FLOW": ("loops", "none of engine, unroll, native"),
    "TFTRT_ALLOW_BARE_PLANS": ("perhaps", BOOLS),
    "TFTRT_CUDA_GRAPHS": ("small", BOOLS),
    "TFTRT_MAX_CONTEXTS": ("0", "not within 1 to"),
    "TFTRT_BUILDER_OPTIMIZATION_LEVEL": ("6", "not within 0 to 5"),
    "TFTRT_BUILDER_IDLE_SECONDS": ("3601", "0 to 3600"),
    "TFTRT_PROFILING_VERBOSITY": ("loud", "none of layer_names_only, none, detailed"),
    "TFTRT_HALF_TYPE": ("float8", "none of float16, bfloat16"),
    "TFTRT_FP16_METHOD": ("guess", "none of auto, flags, rewrite"),
}
# Lists of op types and paths: a wrong one shows when it is used, which other tests hold.
USED = {
    "TF_TRT_OP_DENYLIST": "test_diagnostics.py",
    "TF_TRT_OP_FAKELIST": "test_diagnostics.py",
    "TF_TRT_EXPORT_TRT_ENGINES_PATH": "test_settings.py",
    "TF_TRT_EXPORT_GRAPH_VIZ_PATH": "test_graph_viz.py",
    "ORT_DYLIB_PATH": "test_errors.py",
    "TFTRT_TENSORRT_LIB": "test_versions.py",
    "TFTRT_CACHE_DIR": "test_gpu_cache.py",
    "TFTRT_LIBRARY": "test_setup.py",
    "TFTRT_FAULT": "test_faults.py",
    # The Python that the library is built for; build.rs says which one it tried.
    "TFTRT_PYTHON": "../../build.rs",
}


def variables() -> list[str]:
    return _api._library_in_use().request("settings")["settings"]


def test_every_variable_is_tested_and_in_the_documentation():
    assert set(WRONG) | set(USED) == set(variables())
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    for name in variables():
        assert page.count(f"\n| `{name}` |") == 1, name
    for name, file in USED.items():
        assert name in (HERE / file).read_text(), name


def test_the_documentation_is_what_the_tables_make():
    program = ROOT / "target" / "release" / "examples" / "make_docs"
    if not program.is_file():
        pytest.skip("cargo build --release --examples has not been run")
    done = subprocess.run([program, "--check"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


IMPORT = "import tftrt"
LOUD = {"TF_CPP_MIN_LOG_LEVEL": "0", "TF_CPP_VMODULE": None, "TF_CPP_MAX_VLOG_LEVEL": None}


def test_every_wrong_value_is_said_with_the_values_that_are_taken(run_isolated):
    said = run_isolated(IMPORT, env={**LOUD, **{name: value for name, (value, _) in WRONG.items()}}).stderr
    for name, (value, takes) in WRONG.items():
        lines = [line for line in said.splitlines() if f"tftrt: {name}: " in line]
        assert len(lines) == 1, (name, lines)
        assert value in lines[0] and takes in lines[0], lines[0]
        assert "default" in lines[0] or "left out" in lines[0]


def test_right_values_are_taken_without_a_word(run_isolated):
    right = {
        "TF_TRT_SPARSE_MODE": "false",
        "TF_TRT_ENABLE_LAYOUT_OPTIMIZER": "1",
        "TF_TRT_ALLOW_NMS_TOPK_OVERRIDE": "False",
        "TF_TRT_MAX_ALLOWED_ENGINES": "-1",
        "TF_TRT_EXPERIMENTAL_FEATURES": "reject_all_fp_cast_ops",
    }
    assert "tftrt: TF_" not in run_isolated(IMPORT, env={**LOUD, **right}).stderr


def test_what_has_no_effect_and_what_is_misspelt_is_said(run_isolated):
    asked = {
        "TF_TRT_FIXED_ALGORITHM_ID": "2",
        "TF_DEBUG_TRT_ALLOW_INEFFICIENT_TRANSPOSE": "true",
        "TF_TRT_OP_DENY_LIST": "Sub",
    }
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    listed = page.split("## TF-TRT's, without an effect here")[1].split("\n## ")[0]
    said = run_isolated(IMPORT, env={**LOUD, **asked}).stderr
    for name, value in asked.items():
        (line,) = [line for line in said.splitlines() if f"tftrt: {name}: " in line]
        if name == "TF_TRT_OP_DENY_LIST":
            assert "docs/reference/settings.md lists" in line
            continue
        # A variable may get its effect one day: then it leaves the list, and says nothing.
        assert f'"{value}" has no effect: ' in line and f"`{name}`" in listed


def test_a_folder_for_engines_that_cannot_be_made_is_said(convert_function, tmp_path, monkeypatch, capfd, stats):
    from test_build_modes import SPECS, batch, dense

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TF_TRT_EXPORT_TRT_ENGINES_PATH", str(tmp_path / "file" / "folder"))
    convert_function(dense, SPECS)(batch(2))
    assert stats["builds"] == 1 and stats["engine_calls"] == 1
    said = capfd.readouterr().err
    assert "TF_TRT_EXPORT_TRT_ENGINES_PATH" in said and "the engine is not exported" in said


# ---- 6.4: TF_CPP_VMODULE -------------------------------------------------------------------------------------------------

CONVERSION = f"""
    import sys; sys.path.insert(0, {str(HERE)!r})
    import conftest, tempfile, tensorflow as tf
    from test_build_modes import SPECS, batch, dense
    def fn(x):
        return tf.math.bessel_i0e(dense(x))
    converted = conftest._convert_function(fn, SPECS)
    converted.build([batch(2)], [batch(6)])
    converted(batch(3))
    from tensorflow.compiler.tf2tensorrt.ops import gen_trt_ops
    with tempfile.TemporaryDirectory() as folder:
        gen_trt_ops.serialize_trt_resource(resource_name=converted.engines[0].name, filename=folder + "/asset", delete_resource=False)
"""


def lines_of(stderr: str) -> dict[str, list[str]]:
    """Our verbose lines by the module in front of them."""
    found: dict[str, list[str]] = {}
    # "I0000 00:00:1795931858.815533 26242 segment.cc:120] ..."; until TensorFlow 2.20 "2026-11-29 06:56:18.683510: I segment.cc:120] ...".
    for module, text in re.findall(r"^(?:I\d|\d{4}-.*: I ).*?(\w+)\.cc:\d+\] tftrt: (.*)$", stderr, re.MULTILINE):
        if module != "registry":
            found.setdefault(module, []).append(text)
    return found


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """Runs a conversion, build and call in a fresh process under the given variables; its lines by module."""
    import conftest

    kept = {}

    def run(**variables):
        key = tuple(sorted(variables.items()))
        if key not in kept:
            kept[key] = lines_of(conftest._run_isolated(CONVERSION, env={**LOUD, **variables}).stderr)
        return kept[key]

    return run


def test_without_the_variable_nothing_is_verbose(logged):
    assert logged() == {}


FIRST = {
    "segment": r"a graph of \d+ nodes: 1 segments of \d+ nodes; \d+ nodes stay native",
    "convert_graph": r"TRTEngineOp_\d+_000 takes float32 \[\?,8\]",
    "convert_nodes": r"segment 'TRTEngineOp_\d+_000': \d+ nodes of TensorFlow's are \d+ of ONNX's",
    "trt_engine_op": r"the engine was built in [\d.]+ s",
    "trt_engine_resource_ops": r"1 engines are saved in /.*/asset",
    "trt_shape_optimization_profiles": r"Range of 2 recorded sets of shapes: \[2-6, 8\]",
}
SECOND = {
    "segment": r"\(BesselI0e\) stays native: Neither ONNX nor TensorRT has this function\.",
    "convert_graph": r"TRTEngineOp_\d+_000 holds '.*' \(MatMul\)",
    "convert_nodes": r"\(MatMul\) is converted",
    "trt_engine_op": r"profile 0 serves the input shapes \[\[3, 8\]\]",
}


def test_each_module_speaks_at_its_level(logged):
    asked = logged(TF_CPP_VMODULE="segment=2,convert_graph=1,trt_engine_op=1,trt_shape_optimization_profiles=1,trt_engine_resource_ops=1")
    assert set(asked) == {"segment", "convert_graph", "trt_engine_op", "trt_shape_optimization_profiles", "trt_engine_resource_ops"}
    for module, lines in asked.items():
        assert any(re.search(FIRST[module], line) for line in lines), (module, lines)
        if module in SECOND:
            assert any(re.search(SECOND[module], line) for line in lines) == (module == "segment"), (module, lines)


def test_the_whole_library_has_a_name(logged):
    asked = logged(TF_CPP_VMODULE="tftrt=1,segment=2")
    for module, pattern in [*FIRST.items(), ("segment", SECOND["segment"])]:
        assert any(re.search(pattern, line) for line in asked[module]), module
    # A module's own name comes first, and the others have no more than was asked of all.
    for module in ("convert_graph", "convert_nodes", "trt_engine_op"):
        assert not any(re.search(SECOND[module], line) for line in asked[module]), module


def test_the_second_level_says_more(logged):
    asked = logged(TF_CPP_VMODULE="tftrt=2")
    for module, pattern in SECOND.items():
        assert any(re.search(pattern, line) for line in asked[module]), module


def test_the_level_of_all_of_tensorflow_is_ours_too(logged):
    asked = logged(TF_CPP_MAX_VLOG_LEVEL="1", TF_CPP_VMODULE="convert_nodes=0")
    for module, pattern in FIRST.items():
        if module != "convert_nodes":
            assert any(re.search(pattern, line) for line in asked[module]), module
    assert not any("holds" in line for line in asked["convert_graph"])


def test_a_module_can_be_quiet_where_all_of_tensorflow_is_not(logged):
    assert "convert_nodes" not in logged(TF_CPP_MAX_VLOG_LEVEL="1", TF_CPP_VMODULE="convert_nodes=0")
