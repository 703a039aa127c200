"""The parser of `python -m tftrt`, and the frame around every command: errors in one line, exit codes."""

import argparse
import sys
import traceback

from tftrt._library import VERSION
from tftrt.cli.errors import CommandError, UsageError

OK, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

_DESCRIPTION = """\
Convert a TensorFlow SavedModel so that its supported parts run in TensorRT engines (on a machine without a GPU: in
ONNX Runtime engines), look at what was converted, and time it.
"""

_EXAMPLES = """\
a first conversion:
  python -m tftrt convert model/ converted/ --dynamic --input-shapes "1x28x28;64x28x28"
  python -m tftrt summary converted/
  python -m tftrt run converted/ --batch 8

exit codes: 0 done, 1 failed, 2 wrong usage
"""

_SHAPES = """\
input shapes:
  One set of shapes is one call of the model; sets are separated by ';', dimensions by 'x'.
    one input:        "1x28x28;8x28x28"
    several, by name: "ids=1x128,mask=1x128;ids=8x128,mask=8x128"
    several, in the order that `summary` shows: "1x128,1x128;8x128,8x128"
  A scalar is written "scalar" (or "step=scalar").
"""

_CONVERT_EXAMPLES = """\
profile strategies, for the shapes [8, 128] and [4, 384]:
  Range                        one engine for [4-8, 128-384]: any input in the range (the default)
  Optimal                      [8, 128] and [4, 384]: fastest for exactly these
  Range+Optimal                both of the above
  ImplicitBatchModeCompatible  [1-8, 128] and [1-4, 384]: any batch up to the one given

examples:
  python -m tftrt convert model/ converted/ --input-shapes "64x28x28"
      engines for batches of 1 to 64
  python -m tftrt convert bert/ bert_trt/ --dynamic --precision FP16 \\
      --input-shapes "ids=1x16,mask=1x16;ids=8x128,mask=8x128"
      one engine for batches of 1 to 8 and sequences of 16 to 128
"""


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return value


def _segment_size(text: str) -> int:
    value = int(text)
    if value < 1 and value != -1:
        raise argparse.ArgumentTypeError(f"{value} is neither 1 or more, nor -1 (convert nothing in the main graph)")
    return value


def parser() -> argparse.ArgumentParser:
    """The whole command line. Every command sets `command_module`, the module whose `run(args)` carries it out."""
    frame = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(prog="python -m tftrt", description=_DESCRIPTION, epilog=_EXAMPLES, formatter_class=frame)
    top.add_argument("--version", action="version", version=f"tftrt {VERSION}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    every = argparse.ArgumentParser(add_help=False)
    every.add_argument("--verbose", action="store_true", help="show TensorFlow's log, and a traceback when something fails")
    # What reads the model itself; `inspect` reads its engine files, which are those of all its graphs.
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--signature", metavar="KEY", default="serving_default", help="signature of the model (default: %(default)s)")
    shared.add_argument("--tag", metavar="TAG", action="append", help="tag of the model, may be repeated (default: serve)")

    convert = commands.add_parser(
        "convert",
        parents=[shared, every],
        help="convert a SavedModel and build its engines",
        description="Convert the SavedModel in IN, build its engines for the given shapes, and save the result in OUT.",
        epilog=_SHAPES + "\n" + _CONVERT_EXAMPLES,
        formatter_class=frame,
    )
    convert.add_argument("input", metavar="IN", help="folder of the SavedModel to convert")
    convert.add_argument("output", metavar="OUT", help="folder to write; new or empty, or --overwrite")
    convert.add_argument("--precision", type=str.upper, choices=["FP32", "FP16", "INT8"], default="FP32", help="default: %(default)s")
    convert.add_argument(
        "--dynamic",
        action="store_true",
        help="let any dimension vary, within the profiles made from --input-shapes; without it only the batch may vary",
    )
    convert.add_argument(
        "--profile-strategy",
        choices=["Range", "Optimal", "Range+Optimal", "ImplicitBatchModeCompatible"],
        metavar="STRATEGY",
        help="with --dynamic: Range, Optimal, Range+Optimal or ImplicitBatchModeCompatible (see below; default: Range)",
    )
    convert.add_argument("--input-shapes", metavar="SETS", help="shapes to build engines for (see below)")
    convert.add_argument(
        "--minimum-segment-size", type=_segment_size, default=3, metavar="N", help="smallest number of ops worth an engine (default: 3)"
    )
    convert.add_argument(
        "--max-workspace-size", type=_positive, default=1 << 30, metavar="BYTES", help="scratch memory of one engine (default: 1 GiB)"
    )
    convert.add_argument("--max-cached-engines", type=_positive, default=1, metavar="N", help="engines kept per TRTEngineOp (default: 1)")
    convert.add_argument(
        "--calibration-data",
        metavar="FILE.npz",
        help="for INT8: real inputs, one array per model input, named like it, samples along the first axis",
    )
    convert.add_argument(
        "--calibration-batch", type=_positive, default=32, metavar="N", help="samples per calibration call (default: %(default)s)"
    )
    convert.add_argument("--no-build", action="store_true", help="build no engines now; the first calls of the model will")
    convert.add_argument("--overwrite", action="store_true", help="write into OUT even if it holds files")
    convert.set_defaults(command_module="convert")

    summary = commands.add_parser(
        "summary",
        parents=[shared, every],
        help="show the engines of a converted model",
        description="Show what the SavedModel in DIR takes and gives, its engines, their ops and shapes, and the share of ops converted.",
    )
    summary.add_argument("directory", metavar="DIR", help="folder of the converted SavedModel")
    summary.set_defaults(command_module="summary")

    report = commands.add_parser(
        "report",
        parents=[shared, every],
        help="show what was converted, what was not and why, and what helps",
        description="Show the engines of the SavedModel in DIR with their ops, profiles and sizes, and every op outside them with the reason "
        "and what can be done about it. The reasons are those of the conversion, kept in the model; a model without engines is "
        "converted in memory to learn them.",
    )
    report.add_argument("directory", metavar="DIR", help="folder of the SavedModel")
    report.add_argument("--json", action="store_true", help="print everything as JSON")
    report.add_argument("--html", metavar="FILE", help="write everything as one page of HTML; nothing is printed, unless with --json")
    report.set_defaults(command_module="report")

    inspect = commands.add_parser(
        "inspect",
        parents=[every],
        help="show the stored engines of a converted model: who built them, profiles, layers",
        description="Show what the engine files of the SavedModel in DIR hold, for all its signatures. The layers of TensorRT's engines "
        "are told by TensorRT's own inspector, on the GPU that they were built for; how much, was decided when they were built "
        "(TFTRT_PROFILING_VERBOSITY).",
    )
    inspect.add_argument("directory", metavar="DIR", help="folder of the converted SavedModel")
    inspect.add_argument("--node", metavar="NAME", help="only the engines of this node (TRTEngineOp_000_000)")
    inspect.add_argument("--json", action="store_true", help="everything that is known, as JSON")
    inspect.set_defaults(command_module="inspect")

    warmup = commands.add_parser(
        "warmup",
        parents=[shared, every],
        help="write the requests that TensorFlow Serving warms a model up with",
        description="Write DIR/assets.extra/tf_serving_warmup_requests: one request for each end of the profiles of the engines in DIR, or "
        "for each set of --input-shapes. Each is run here first. TensorFlow Serving runs them all before it serves the model.",
        epilog=_SHAPES,
        formatter_class=frame,
    )
    warmup.add_argument("directory", metavar="DIR", help="folder of the converted SavedModel")
    warmup.add_argument("--input-shapes", metavar="SETS", help="shapes to send, one request for each set (see below)")
    warmup.add_argument("--name", metavar="NAME", help="the model's name in Serving (default: DIR's own)")
    warmup.set_defaults(command_module="warmup")

    stats = commands.add_parser(
        "stats",
        parents=[every],
        help="show what engines of a server have done, from its Prometheus page; or what is here",
        description="Show the metrics of tftrt that a Prometheus page has, as TensorFlow Serving serves one: a URL, a file, or - for "
        "standard input. Without it, the versions, backends and the cache on disk of this machine.",
    )
    stats.add_argument("page", metavar="PAGE", nargs="?", help="http://HOST:8501/monitoring/prometheus/metrics, a file, or -")
    stats.add_argument("--json", action="store_true", help="print everything as JSON")
    stats.set_defaults(command_module="stats")

    run = commands.add_parser(
        "run",
        parents=[shared, every],
        help="run a SavedModel on random inputs and time it",
        description="Run the SavedModel in DIR, converted or not, on random inputs; show its outputs and the time per step.",
        epilog=_SHAPES,
        formatter_class=frame,
    )
    run.add_argument("directory", metavar="DIR", help="folder of the SavedModel")
    run.add_argument("--input-shapes", metavar="SETS", help="shapes to run, one set after the other (see below)")
    run.add_argument("--batch", type=_positive, metavar="N", help="size of an open first dimension (default: 1)")
    run.add_argument("--steps", type=_positive, default=10, metavar="N", help="timed steps per set of shapes (default: %(default)s)")
    run.set_defaults(command_module="run")
    return top


def _one_line(error: BaseException) -> str:
    """The first line of what `error` says; TensorFlow appends the graph's whole history to its messages."""
    text = str(getattr(error, "message", None) or error).strip()
    first = text.splitlines()[0] if text else ""
    if isinstance(error, (CommandError, UsageError, ImportError)):
        return first
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def main(arguments: list[str] | None = None) -> int:
    """Carries out one command line and returns its exit code (argparse itself exits with 0 for --help and 2 for misuse)."""
    args = parser().parse_args(arguments)
    try:
        from importlib import import_module

        import_module(f"tftrt.cli.{args.command_module}").run(args)
        return OK
    except KeyboardInterrupt:
        print("tftrt: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (`head`, a pager) has gone: nobody is left to be told.
        sys.stderr.close()
        return FAILED
    except Exception as error:  # Whatever it is: one line for the user, the rest on request.
        if args.verbose:
            traceback.print_exc()
        print(f"tftrt: error: {_one_line(error)}", file=sys.stderr)
        return WRONG_USAGE if isinstance(error, UsageError) else FAILED
