"""The whole way of a model through tftrt: train, convert, build, save, and serve in a new process.

    cargo xtask demo        (or: python examples/demo.py)

A small convolutional network learns scikit-learn's 1,797 digits in a few seconds. It is converted with the code of NVIDIA's
TF-TRT user guide; a new process then loads the result with plain tf.saved_model.load and classifies the images that the
training never saw. At the end, ResNet-50 is timed, native and converted.
"""

import argparse
import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import textwrap
import time

HELD_OUT = 360
BATCH = 60
STEPS = 10


@contextlib.contextmanager
def _silenced(*streams):
    """Keeps away what native code writes to `streams` inside the block; it is given out after all if the block fails."""
    kept = {}
    with tempfile.TemporaryFile() as away:
        for stream in streams:
            stream.flush()
            kept[stream.fileno()] = os.dup(stream.fileno())
            os.dup2(away.fileno(), stream.fileno())
        failed = True
        try:
            yield
            failed = False
        finally:
            for number, copy in kept.items():
                os.dup2(copy, number)
                os.close(copy)
            if failed:
                away.seek(0)
                os.write(2, away.read())


def _start():
    """TensorFlow and tftrt, imported without TensorFlow's start-up lines; afterwards it logs errors only."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _silenced(sys.stderr):
        import tensorflow as tf

        import tftrt

        tf.config.list_physical_devices()
        tf.constant(0) + 1  # The first op makes TensorFlow speak of its devices.
    tf.get_logger().setLevel("WARNING")
    return tf, tftrt


def _title(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


def _row(label: str, *cells: str) -> None:
    print(f"  {label:<26}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


def _digits():
    """(train images, train labels), (held-out images, held-out labels): float32 [n, 8, 8, 1] in 0..1, and int64 [n]."""
    import numpy as np
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images / 16.0).astype("float32")[..., np.newaxis]
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], digits.target[order]
    return (images[:-HELD_OUT], labels[:-HELD_OUT]), (images[-HELD_OUT:], labels[-HELD_OUT:])


def _train(tf, folder: str) -> None:
    """Trains the network and writes it as a SavedModel."""
    tf.keras.utils.set_random_seed(1)
    (images, labels), _ = _digits()
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            tf.keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10),
        ]
    )
    model.compile(optimizer="adam", loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    begun = time.perf_counter()
    model.fit(images, labels, epochs=8, batch_size=64, verbose=0)
    _row("trained on", f"{len(images)} images", f"{time.perf_counter() - begun:.1f} s")
    model.export(folder, verbose=False)


def _convert(source: str, target: str, batches: list, show_summary: bool) -> float:
    """The guide's code: convert, summary, build, save. Returns the seconds that build() took."""
    from tensorflow.python.compiler.tensorrt import trt_convert as trt

    converter = trt.TrtGraphConverterV2(
        input_saved_model_dir=source,
        precision_mode=trt.TrtPrecisionMode.FP32,
        use_dynamic_shape=True,
        dynamic_shape_profile_strategy="Range",
    )
    converter.convert()
    if show_summary:
        converter.summary(print_fn=lambda line="": print(textwrap.indent(line.rstrip(), "  ")))

    def input_fn():
        for batch in batches:
            yield [batch]

    begun = time.perf_counter()
    converter.build(input_fn=input_fn)
    seconds = time.perf_counter() - begun
    converter.save(target)
    return seconds


def _signature(tf, folder: str):
    """The model in `folder`, loaded by TensorFlow alone, as a function of one tensor. The model stays alive with it."""
    loaded = tf.saved_model.load(folder)
    function = loaded.signatures["serving_default"]
    (name,) = function.structured_input_signature[1]

    def call(x):
        (result,) = function(**{name: x}).values()
        return result

    call.model = loaded
    return call


def _milliseconds(calls: list, x, steps: int) -> list[float]:
    """The median time of one call of each of `calls`, which take turns: a busy machine slows them all."""
    times: list[list[float]] = [[] for _ in calls]
    for step in range(steps + 2):
        for call, own in zip(calls, times):
            begun = time.perf_counter()
            call(x).numpy()
            if step >= 2:  # The first two warm up.
                own.append((time.perf_counter() - begun) * 1e3)
    return [sorted(own)[steps // 2] for own in times]


def _serve(native_folder: str, converted_folder: str) -> None:
    """What the new process does: load both models, classify the held-out images, and count."""
    import numpy as np

    tf, tftrt = _start()
    _, (images, labels) = _digits()
    native, converted = _signature(tf, native_folder), _signature(tf, converted_folder)
    right = {"native": 0, "converted": 0}
    largest = 0.0
    for at in range(0, len(images), BATCH):
        x = tf.constant(images[at : at + BATCH])
        expected, got = native(x).numpy(), converted(x).numpy()
        right["native"] += int((expected.argmax(-1) == labels[at : at + BATCH]).sum())
        right["converted"] += int((got.argmax(-1) == labels[at : at + BATCH]).sum())
        largest = max(largest, float(np.abs(got - expected).max() / np.abs(expected).max()))
    totals = tftrt.stats()["totals"]
    _row("", "native", "converted")
    _row("held-out images right", *(f"{count} of {len(images)}" for count in right.values()))
    _row("accuracy", *(f"{count / len(images):.2%}" for count in right.values()))
    _row("largest difference", "", f"{largest:.1e}")
    _row("engine calls", "", str(totals.get("engine_calls", 0)))
    _row("engines built anew", "", str(totals.get("builds", 0)))
    _row("native fallbacks", "", str(totals.get("native_fallbacks", 0)))
    if right["native"] != right["converted"] or largest > 1e-4 or totals.get("native_fallbacks") or not totals.get("engine_calls"):
        sys.exit("demo: the converted model does not do what the native one does")


def _resnet(tf, tftrt, folder: pathlib.Path, batches: list[int]) -> None:
    """ResNet-50 with random weights (its speed does not depend on them), native and converted."""
    tf.keras.utils.set_random_seed(1)
    source, target = str(folder / "resnet50"), str(folder / "resnet50_converted")
    tf.keras.applications.ResNet50(weights=None).export(source, verbose=False)
    inputs = [tf.random.uniform((batch, 224, 224, 3)) for batch in batches]
    with _silenced(sys.stdout):  # The report of what was not converted: shown once, for the small network.
        seconds = _convert(source, target, inputs, show_summary=False)
    native, converted = _signature(tf, source), _signature(tf, target)
    _row("engine built in", f"{seconds:.1f} s")
    _row("time per batch", "native", "converted", "speed-up")
    fallbacks = tftrt.stats()["totals"].get("native_fallbacks", 0)
    for x in inputs:
        before, after = _milliseconds([native, converted], x, STEPS)
        _row(f"  batch {x.shape[0]}", f"{before:.1f} ms", f"{after:.1f} ms", f"{before / after:.2f} x")
    _row("native fallbacks", "", str(tftrt.stats()["totals"].get("native_fallbacks", 0) - fallbacks))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--keep", metavar="DIR", type=pathlib.Path, help="keep the models in this folder")
    options.add_argument("--skip-resnet", action="store_true", help="leave out the timing of ResNet-50")
    options.add_argument("--serve", nargs=2, metavar=("NATIVE", "CONVERTED"), help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.serve:
        _serve(*args.serve)
        return

    tf, tftrt = _start()
    versions, backend = tftrt.versions(), tftrt.backend()
    if backend is None:
        sys.exit("demo: neither TensorRT nor ONNX Runtime can be loaded here, so there is nothing to show")
    state = versions["backends"][backend]
    print(f"tftrt {versions['tftrt']}, TensorFlow {versions['tensorflow']}, engines by {backend} {state['version']}")
    with contextlib.ExitStack() as stack:
        folder = args.keep or pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tftrt-demo-")))
        native, converted = str(folder / "digits"), str(folder / "digits_converted")

        _title("1. Train on scikit-learn's handwritten digits")
        _train(tf, native)

        _title("2. Convert with the code of the TF-TRT user guide")
        _, (images, _) = _digits()
        seconds = _convert(native, converted, [images[:1], images[:BATCH]], show_summary=True)
        _row("engine built in", f"{seconds:.1f} s", f"batches 1-{BATCH}")

        _title("3. Serve in a new process, with tf.saved_model.load")
        served = subprocess.run([sys.executable, __file__, "--serve", native, converted], check=False)
        if served.returncode:
            sys.exit(served.returncode)

        if not args.skip_resnet:
            _title("4. ResNet-50, random weights, 224 x 224")
            _resnet(tf, tftrt, folder, [1, 4])


if __name__ == "__main__":
    main()
