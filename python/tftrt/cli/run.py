"""`python -m tftrt run`."""

import time

from tftrt.cli import inputs as random
from tftrt.cli import model, shapes
from tftrt.cli.errors import UsageError
from tftrt.cli.progress import note, step


def run(args) -> None:
    """Runs the model on random inputs, one set of shapes after the other; prints outputs, times and what the engines did."""
    if args.batch and args.input_shapes:
        raise UsageError("--input-shapes holds the batch already: leave out --batch")
    tags = args.tag or ["serve"]
    with step("starting TensorFlow"):
        tf = model.start(args.verbose, plugin=True)
    import tftrt

    given, _ = model.signature(model.meta_graph(args.directory, tags), args.directory, args.signature)
    if args.input_shapes:
        sets = shapes.resolve(args.input_shapes, given)
    else:
        sets = [shapes.default(given, args.batch or 1)]
    with step(f"loading {args.directory}"):
        loaded = tf.saved_model.load(args.directory, tags=tags)
        function = loaded.signatures[args.signature]
    for chosen in sets:
        _run_one(tf, tftrt, function, given, chosen, args.steps)
    print("\n".join(_told(tftrt.stats()["resources"])), end="")


def _told(resources: list[dict]) -> list[str]:
    """What there is to say of each engine, one line a text; nothing of those that did as they were asked."""
    lines = []
    for one in sorted(resources, key=lambda one: one["name"]):
        texts = [f"saved plan not used: {text}" for text in one["rejected"]]
        texts += one["notes"] + [f"native: {text}" for text in one["native_reasons"]]
        lines += [f"{one['name']}: {text}" for text in texts]
    return [*lines, ""] if lines else []


def _run_one(tf, tftrt, function, given, chosen: dict[str, shapes.Shape], steps: int) -> None:
    feed = {name: tf.constant(value) for name, value in random.random_inputs(given, chosen).items()}
    before = tftrt.stats()["totals"]

    def call() -> tuple[float, dict]:
        begun = time.perf_counter()
        outputs = function(**feed)
        for value in outputs.values():
            value.numpy()  # Waits for a GPU to finish.
        return (time.perf_counter() - begun) * 1e3, outputs

    with step(f"first call with {shapes.show(chosen) or 'no inputs'}"):
        first, outputs = call()
    times = sorted(call()[0] for _ in range(steps))
    after = tftrt.stats()["totals"]

    def difference(counter: str) -> int:
        return after.get(counter, 0) - before.get(counter, 0)

    print(f"inputs   {shapes.show(chosen) or 'none'}")
    width = max((len(name) for name in outputs), default=0)
    for at, (name, value) in enumerate(sorted(outputs.items())):
        label = "outputs" if at == 0 else ""
        print(f"{label:<8} {name:<{width}}  {value.dtype.name}  {'x'.join(map(str, value.shape)) or 'scalar'}")
    middle = times[len(times) // 2]
    print(f"time     {middle:.2f} ms per step (median of {steps}; fastest {times[0]:.2f} ms, first call {first:.2f} ms)")
    designed = difference("native_calibration") + difference("native_building")
    more = f", {designed} native by design" if designed else ""
    print(f"engines  {difference('engine_calls')} calls, {difference('native_fallbacks')} native fallbacks{more}")
    if difference("native_fallbacks"):
        note("some calls ran in native TensorFlow instead of an engine; the reasons are below, and --verbose shows the log")
