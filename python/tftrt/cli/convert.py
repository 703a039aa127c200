"""`python -m tftrt convert`."""

from tftrt.cli import inputs as random
from tftrt.cli import model, paths, place, shapes
from tftrt.cli.errors import CommandError, UsageError
from tftrt.cli.progress import note, step


def _check_output(args) -> None:
    there = paths.exists(args.output)
    if there and not paths.is_folder(args.output):
        raise UsageError(f"{args.output} is a file; OUT has to be a folder")
    if there and paths.same(args.input, args.output):
        raise UsageError("OUT is the same folder as IN; the converted model needs one of its own")
    if there and paths.names(args.output) and not args.overwrite:
        raise UsageError(f"{args.output} is not empty; choose another folder, or add --overwrite")


def _check_options(args) -> None:
    if args.profile_strategy and not args.dynamic:
        raise UsageError("--profile-strategy needs --dynamic")
    if args.no_build and args.input_shapes:
        raise UsageError("--input-shapes says what to build, and --no-build that nothing is built: leave one out")
    if args.precision == "INT8" and not args.calibration_data:
        raise UsageError("--precision INT8 needs --calibration-data: the ranges of real inputs decide how values are rounded")
    if args.precision != "INT8" and args.calibration_data:
        raise UsageError("--calibration-data is for --precision INT8 only")
    if args.precision == "INT8" and args.dynamic and args.no_build:
        raise UsageError("INT8 with --dynamic calibrates while it builds: leave out --no-build")


def _shape_sets(args, given: list[shapes.Input]) -> list[dict[str, shapes.Shape]]:
    """What to build engines for; none with --no-build."""
    if args.no_build:
        return []
    if args.input_shapes:
        return shapes.resolve(args.input_shapes, given)
    chosen = shapes.default(given, batch=1)
    if any(s.shape and s.shape[0] is None for s in given):
        note(f"no --input-shapes: engines are built for {shapes.show(chosen)}")
    return [chosen]


def _calibration(args, given: list[shapes.Input]):
    """The function that feeds INT8 calibration from the .npz file, or None without one."""
    if not args.calibration_data:
        return None
    import numpy as np

    try:
        with np.load(args.calibration_data, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError) as cause:
        raise CommandError(f"{args.calibration_data} cannot be read: {cause}") from cause
    wanted = {i.name: i.dtype for i in given}
    if set(arrays) != set(wanted):
        raise CommandError(f"{args.calibration_data} holds {', '.join(sorted(arrays))}; the model takes {', '.join(sorted(wanted))}")
    samples = {len(array) if array.ndim else 0 for array in arrays.values()}
    if len(samples) != 1 or min(samples) < args.calibration_batch:
        raise CommandError(
            f"{args.calibration_data}: every array needs the same number of samples, and at least one batch "
            f"of {args.calibration_batch} (--calibration-batch)"
        )
    # Calibration wants one shape only: a last batch that is not full is left out.
    batches = samples.pop() // args.calibration_batch

    def feed():
        for at in range(0, batches * args.calibration_batch, args.calibration_batch):
            yield {
                name: array[at : at + args.calibration_batch].astype(wanted[name].as_numpy_dtype) for name, array in arrays.items()
            }

    return feed


def run(args) -> None:
    """Converts, builds and saves. Prints the converter's summary on stdout, progress on stderr."""
    _check_options(args)
    if not paths.is_folder(args.input):
        raise CommandError(f"{args.input} is not a folder")
    _check_output(args)
    tags = args.tag or ["serve"]
    with step("starting TensorFlow"):
        model.start(args.verbose, plugin=True)
    import tftrt
    from tensorflow.python.compiler.tensorrt import trt_convert as trt

    given, _ = model.signature(model.meta_graph(args.input, tags), args.input, args.signature)
    sets = _shape_sets(args, given)
    feed = _calibration(args, given)
    if tftrt.backend() is None:
        causes = "; ".join(f"{name}: {state.get('error') or 'not available'}" for name, state in tftrt.versions()["backends"].items())
        note(f"no backend is available, so no engine can be built here ({causes})")

    converter = trt.TrtGraphConverterV2(
        input_saved_model_dir=args.input,
        input_saved_model_tags=tags,
        input_saved_model_signature_key=args.signature,
        use_dynamic_shape=args.dynamic,
        dynamic_shape_profile_strategy=args.profile_strategy or ("Range" if args.dynamic else None),
        max_workspace_size_bytes=args.max_workspace_size,
        precision_mode=args.precision,
        minimum_segment_size=args.minimum_segment_size,
        maximum_cached_engines=args.max_cached_engines,
    )
    with step(f"converting {args.input}"):
        function = converter.convert(calibration_input_fn=feed)
    converter.summary(detailed=args.verbose)
    if not any(node.op == "TRTEngineOp" for node in function.graph.as_graph_def().node):
        note("no part of the model was converted; TF_TRT_SHOW_DETAILED_REPORT=1 says why, op by op")
    if sets:
        before = tftrt.stats()["totals"]
        with step(f"building engines for {len(sets)} set{'s' if len(sets) > 1 else ''} of shapes"):
            converter.build(input_fn=lambda: (random.random_inputs(given, chosen) for chosen in sets))
        failed = tftrt.stats()["totals"].get("failures", 0) - before.get("failures", 0)
        if failed:
            note(f"{failed} engine{'s' if failed > 1 else ''} could not be built: those segments run natively; --verbose shows why")
    with step(f"saving {args.output}"), place.whole(args.output) as folder:
        converter.save(folder)
