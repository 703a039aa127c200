"""What stands in the place of a backend's shared library: an error that names the file and the variable, never a signal or a wait."""

import os
import pathlib
import shutil

import tensorflow as tf  # noqa: F401  (the package finds ONNX Runtime for the environment)

HERE = str(pathlib.Path(__file__).resolve().parent)


def test_no_onnx_runtime_at_its_path(run_isolated, tmp_path):
    library = pathlib.Path(os.environ["ORT_DYLIB_PATH"])
    size = library.stat().st_size
    places = {}
    for name, length in (("most", size - 1), ("half", size // 2), ("page", 4096), ("header", 64)):
        places[name] = tmp_path / f"{name}.so"
        shutil.copyfile(library, places[name])
        os.truncate(places[name], length)
    places["pipe"] = tmp_path / "pipe"
    os.mkfifo(places["pipe"])
    places["folder"] = tmp_path
    places["nothing"] = tmp_path / "nothing"
    places["text"] = tmp_path / "text"
    places["text"].write_text("no library")
    places["device"] = pathlib.Path("/dev/zero")
    words = {
        **dict.fromkeys(("most", "half", "page"), "is cut short"),
        "header": "is cut short",
        "pipe": "is a pipe (FIFO)",
        "folder": "is a directory",
        "nothing": "cannot be opened",
        "text": "is no shared library",
        "device": "is a device",
    }
    done = run_isolated(
        f"""
        import os, sys
        sys.path.insert(0, {HERE!r})
        import numpy as np, tensorflow as tf, tftrt, conftest
        os.environ["ORT_DYLIB_PATH"] = "/nowhere/libonnxruntime.so"  # A conversion looks for it, too.
        model = conftest._convert_function(lambda x: tf.nn.relu(x * 2.0 - 1.0) + 1.0, [tf.TensorSpec([None, 4])])
        for name, place in {({name: str(place) for name, place in places.items()})!r}.items():
            os.environ["ORT_DYLIB_PATH"] = place
            backend = tftrt.versions()["backends"]["onnxruntime"]
            before = tftrt.stats()["totals"]["native_no_backend"]
            assert np.allclose(model(tf.ones([2, 4])), 2.0)
            assert tftrt.stats()["totals"]["native_no_backend"] == before + 1
            print(">", name, backend["available"], backend["error"], flush=True)
        # It is looked for again: nothing of this is for good.
        os.environ["ORT_DYLIB_PATH"] = {str(library)!r}
        assert np.allclose(model(tf.ones([2, 4])), 2.0)
        print("> at last", tftrt.stats()["totals"]["engine_calls"])
        """,
        timeout=120,
    )
    said = dict(line[2:].split(" ", 1) for line in done.stdout.splitlines() if line.startswith("> ") and " at last" not in line)
    assert set(said) == set(places)
    for name, text in said.items():
        assert text.startswith("False "), text
        assert f"{places[name]}, from ORT_DYLIB_PATH, {words[name]}" in text, text
    assert "> at last 1" in done.stdout


def test_an_empty_path_is_none(run_isolated):
    done = run_isolated("import tftrt; print(tftrt.versions()['backends']['onnxruntime']['available'])", env={"ORT_DYLIB_PATH": ""})
    assert done.stdout.split()[-1] == "True"
