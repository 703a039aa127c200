"""The metrics in TensorFlow's monitoring, read back through its own registry, and `python -m tftrt stats`."""

import json

import numpy as np
import pytest
import tensorflow as tf

import tftrt
from tftrt.cli import stats as command
from tftrt.cli.main import main


def _metrics() -> dict:
    """What tensorflow::monitoring::CollectionRegistry collects under /tensorflow/tftrt/."""
    return tftrt._api._library_in_use().request("metrics")["metrics"]


def _convert(convert_function):
    return convert_function(lambda x: tf.nn.relu(tf.matmul(x, tf.ones([4, 4])) + 1.0), [tf.TensorSpec([None, 4])])


def test_the_registry_has_what_the_counters_have(convert_function):
    before = _metrics()
    model = _convert(convert_function)
    model.build([np.ones([4, 4], np.float32)], [np.ones([2, 4], np.float32)])
    model(tf.ones([3, 4]))
    model(tf.ones([9, 4]))  # In no profile.
    after, totals = _metrics(), tftrt.stats()["totals"]
    assert after["engine_calls"] - before["engine_calls"] == 2
    assert after["builds"] - before["builds"] == 1
    assert after["native_fallbacks"] - before["native_fallbacks"] == 1
    reasons = {name: n - before["native_calls"][name] for name, n in after["native_calls"].items()}
    assert {name for name, n in reasons.items() if n} == {"no_engine", "profile_generation"}
    assert after["build_seconds"]["count"] - before["build_seconds"]["count"] == 1
    assert after["build_seconds"]["sum"] > before["build_seconds"]["sum"]
    assert after["engines"] == totals["engines"] >= 1
    assert after["evictions"] == totals["evictions"]
    # Each name of the table is one that TensorFlow knows.
    assert {"cache_hits", "cache_misses", "contexts", "disk_cache_bytes", "loads", "rejected_plans"} <= set(after)


def test_a_metric_never_falls_when_a_model_goes(convert_function, stats):
    model = _convert(convert_function)
    model.build([np.ones([2, 4], np.float32)])
    calls = _metrics()["engine_calls"]
    del model
    stats.reset()  # Collects garbage: the resource may go.
    assert _metrics()["engine_calls"] >= calls


def test_bytes_of_the_cache_on_disk(run_isolated, tmp_path):
    folder = tmp_path / "cache"
    code = """
        import tftrt
        print(tftrt._api._library_in_use().request("metrics")["metrics"]["disk_cache_bytes"])
    """
    environment = {"TFTRT_CACHE_DIR": str(folder), "TFTRT_CACHE_READONLY": None}
    assert run_isolated(code, environment).stdout.split() == ["0"]
    assert not folder.exists(), "to look is not to make"
    (folder / "engines").mkdir(parents=True, mode=0o700)
    folder.chmod(0o700)
    (folder / "engines" / "a.engine").write_bytes(b"x" * 1000)
    (folder / "engines" / "b.engine").write_bytes(b"x" * 24)
    assert run_isolated(code, environment).stdout.split() == ["1024"]


def test_the_log_says_what_runs_engines(run_isolated):
    code = """
        import tensorflow as tf, tftrt
        tftrt.versions()
    """
    done = run_isolated(code, {"TF_CPP_MIN_LOG_LEVEL": "0", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_VMODULE": "trt_engine_utils=1"})
    version = tftrt.versions()["backends"]["onnxruntime"]["version"]
    lines = [line for line in done.stderr.splitlines() if f"engines on the CPU are ONNX Runtime {version}'s" in line]
    assert len(lines) == 1 and f"tftrt {tftrt.__version__}: " in lines[0], done.stderr


# As TensorFlow Serving writes it (prometheus_exporter.cc): slashes are colons, labels in braces that may be empty.
PAGE = """\
# TYPE :tensorflow:serving:request_count counter
:tensorflow:serving:request_count{model_name="m"} 7
# TYPE :tensorflow:tftrt:engine_calls counter
:tensorflow:tftrt:engine_calls{} 41
# TYPE :tensorflow:tftrt:native_calls counter
:tensorflow:tftrt:native_calls{reason="building"} 3
:tensorflow:tftrt:native_calls{reason="no_engine"} 0
# TYPE :tensorflow:tftrt:build_seconds histogram
:tensorflow:tftrt:build_seconds_bucket{le="0.01"} 0
:tensorflow:tftrt:build_seconds_bucket{le="+Inf"} 2
:tensorflow:tftrt:build_seconds_sum{} 1.5
:tensorflow:tftrt:build_seconds_count{} 2
"""


def test_a_page_of_serving_is_read(tmp_path, capsys):
    found = command.read(PAGE)
    assert found == {
        "engine_calls": 41,
        "native_calls": {"building": 3, "no_engine": 0},
        "build_seconds_sum": 1.5,
        "build_seconds_count": 2,
    }
    page = tmp_path / "metrics"
    page.write_text(PAGE)
    assert main(["stats", str(page), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert main(["stats", str(page)]) == 0
    assert ["native_calls{building}", "3"] in [line.split() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(("content", "said"), [("up 1\n", "has no metrics of tftrt"), (None, "cannot be read: No such file")])
def test_a_page_without_metrics_is_an_error(tmp_path, capsys, content, said):
    page = tmp_path / "metrics"
    if content is not None:
        page.write_text(content)
    assert main(["stats", str(page)]) == 1
    assert said in capsys.readouterr().err


def test_without_a_page_this_machine_is_shown(capsys):
    assert main(["stats", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tensorflow"] == tf.__version__ and found["backend"] == tftrt.backend()
    assert isinstance(found["disk_cache_bytes"], int)
