"""`python -m tftrt warmup`: the requests that TensorFlow Serving sends to a model before it serves it."""

import pathlib

from tftrt.cli import inputs as random
from tftrt.cli import inspect, model, shapes
from tftrt.cli.errors import CommandError, UsageError
from tftrt.cli.progress import note, step

# Where Serving looks, in the folder of a model's version.
FILE = "assets.extra/tf_serving_warmup_requests"
# Serving takes no more of them.
MOST = 1000


def _batches(directory: str) -> list[int]:
    """The batches that the profiles of the stored engines begin with, are best for, and end with; the smallest first."""
    from tftrt import _api

    found = set()
    for file in inspect.files(directory, None):
        for engine in _api._library_in_use().request("inspect", file=str(file))["engines"]:
            for profile in engine.get("bounds", []):
                found |= {bounds[end][0] for bounds in profile for end in ("min", "opt", "max") if bounds[end]}
    if not found:
        raise CommandError(f"{directory} holds no engine whose profiles can be read: say which requests come, with --input-shapes")
    return sorted(found)


def _candidates(args, given: list[shapes.Input]) -> list[dict[str, shapes.Shape]]:
    if args.input_shapes:
        return shapes.resolve(args.input_shapes, given)
    if all(one.shape is not None and None not in one.shape for one in given):
        return [shapes.default(given, 1)]
    return [shapes.default(given, batch) for batch in _batches(args.directory)]


def _tried(tf, tftrt, function, feeds: list[dict], required: bool) -> list[dict]:
    """The feeds that the model takes and that its engines serve; with `required`, all of them, or an error."""
    kept = []
    for feed in feeds:
        shown = shapes.show({name: value.shape for name, value in feed.items()})
        before = tftrt.stats()["totals"]["native_fallbacks"]
        try:
            function(**{name: tf.constant(value) for name, value in feed.items()})
        except tf.errors.OpError as error:
            if required:
                raise CommandError(f"the model does not take {shown}: {str(error.message).splitlines()[0]}") from error
            note(f"{shown} is left out: the model does not take it")
            continue
        native = tftrt.stats()["totals"]["native_fallbacks"] - before
        if native and not required:
            note(f"{shown} is left out: some of its engines do not serve it")
            continue
        if native:
            note(f"{shown}: {native} native fallbacks; some engines do not serve it")
        kept.append(feed)
    return kept


def write(path: pathlib.Path, feeds: list[dict], name: str, signature: str) -> None:
    """Writes a TFRecord of PredictionLog messages, one for each feed (arrays by the name of the signature's input)."""
    import tensorflow as tf

    from tftrt.cli.serving_messages import prediction_log

    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for feed in feeds:
            log = prediction_log()()
            request = log.predict_log.request
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for key, value in feed.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            writer.write(log.SerializeToString())


def run(args) -> None:
    """Makes the requests, runs each here, and writes those that engines serve. Raises UsageError where shapes have to be given."""
    tags = args.tag or ["serve"]
    with step("starting TensorFlow"):
        tf = model.start(args.verbose, plugin=True)
    import tftrt

    given, _ = model.signature(model.meta_graph(args.directory, tags), args.directory, args.signature)
    candidates = _candidates(args, given)
    if len(candidates) > MOST:
        raise UsageError(f"--input-shapes: {len(candidates)} sets; TensorFlow Serving takes at most {MOST} warm-up requests")
    with step(f"loading {args.directory}"):
        loaded = tf.saved_model.load(args.directory, tags=tags)
    feeds = [random.random_inputs(given, chosen) for chosen in candidates]
    feeds = _tried(tf, tftrt, loaded.signatures[args.signature], feeds, required=bool(args.input_shapes))
    if not feeds:
        raise CommandError(f"the engines in {args.directory} serve none of the batches of their profiles; use --input-shapes")
    path = pathlib.Path(args.directory) / FILE
    write(path, feeds, args.name or pathlib.Path(args.directory).resolve().name, args.signature)
    for feed in feeds:
        print(f"request  {shapes.show({key: value.shape for key, value in feed.items()})}")
    print(f"written  {path}")
