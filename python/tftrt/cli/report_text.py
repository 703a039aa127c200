"""The report for a terminal."""

from tftrt.cli.summary import _bytes

SOURCES = {
    "the model": "recorded when the model was converted",
    "a trial": "the model holds no engines: this is what a conversion with dynamic shapes would do now",
    None: "the reasons are not in the model: another TF-TRT than this one converted it",
}


def share(told: dict) -> str:
    """The share of ops converted, in words."""
    part = told["share"]
    if part["percent"] is None:
        return "no ops"
    return f"{part['percent']:.2f} % of the ops converted ({part['inside']} of {part['total']})"


def asked(told: dict) -> list[str]:
    """The settings of the conversion, as "name=value"."""
    return [f"{name}={value}" for name, value in (told["asked"] or {}).items() if value not in (None, [], False, "")]


def stored(engine: dict) -> list[str]:
    """Lines on what an engine's file holds."""
    file = engine["stored"]
    if engine["plan_bytes"]:
        # Only TF-TRT 1.x and 2.x wrote such: no static engine is made here.
        return [f"stored: in the graph, {_bytes(engine['plan_bytes'])}, a static engine's plan as TF-TRT wrote it; {_instead(engine)}"]
    if file is None:
        return ["stored: nothing"]
    if "error" in file:
        return [f"stored: {_bytes(file['bytes'])} that cannot be read: {file['error']}"]
    if not file["engines"]:
        return ["stored: no engine (saved without)"]
    lines = []
    for one in file["engines"]:
        if "error" in one:
            lines.append(f"stored: {_bytes(one['bytes'])} that cannot be used: {one['error']}; {_instead(engine)}")
            continue
        capability = f" for compute capability {one['compute_capability']}" if one["compute_capability"] else ""
        lines.append(f"stored: {one['backend']} {one['backend_version']}{capability}, {_bytes(one['payload_bytes'])}")
        lines += [f"  profile {at}: {profile}" for at, profile in enumerate(one["profiles"])]
    return lines


def _instead(engine: dict) -> str:
    """What happens where a stored plan cannot be used."""
    if engine["nodes"] is None:
        return "with its native segment removed, calls fail"
    if engine["calibrating"] or not engine["allow_build"]:
        return "the native segment runs"
    return "the first call builds the engine anew"


def _limits(engine: dict) -> list[str]:
    """What keeps an engine from what was asked of it."""
    lines = []
    if not engine["allow_build"]:
        lines.append("builds nothing at run time (allow_build_at_runtime=false): without a plan that fits, the native segment runs")
    if engine["calibrating"]:
        lines.append("INT8 without a calibration table: the native segment runs")
    elif engine["precision"] == "INT8" and engine["calibration_bytes"]:
        lines.append(f"calibration data of {_bytes(engine['calibration_bytes'])}, which are not used: what the model does not quantise itself is computed without INT8")
    return lines


def about(engine: dict) -> list[str]:
    """Lines on an engine, but for its name and ops."""
    mode = f"dynamic shapes, {engine['profile_strategy']}" if engine["dynamic_shape"] else "implicit batch"
    return [
        f"precision {engine['precision']}, {mode}, workspace {_bytes(engine['workspace_bytes'])}, "
        f"{engine['max_cached_engines']} cached engines at most, {engine['device'] or 'no device given'}",
        f"takes {' '.join(engine['inputs']) or 'nothing'}",
        f"gives {' '.join(engine['outputs']) or 'nothing'}",
        *_limits(engine),
    ]


def text(told: dict) -> str:
    """The whole report."""
    count = len(told["engines"])
    would = "" if told["converted"] else " in a trial conversion"
    lines = [told["model"], f"{count} engine{'' if count == 1 else 's'}{would}, {share(told)}"]
    for label in ("inputs", "outputs"):
        lines += [f"{label if at == 0 else '':<8} {tensor}" for at, tensor in enumerate(told[label])]
    if told["asked"]:
        lines.append("asked    " + ", ".join(asked(told)))
    for engine in told["engines"]:
        size = "its native segment was removed" if engine["nodes"] is None else f"{engine['nodes']} nodes"
        lines += ["", f"{engine['name']}: {size}"]
        lines += [f"  {line}" for line in about(engine) + (stored(engine) if told["converted"] else [])]
        if engine["ops"]:
            lines.append("  " + ", ".join(f"{op} {n}" for op, n in engine["ops"].items()))
    lines += ["", f"ops that stay in TensorFlow ({SOURCES[told['reasons_from']]})"]
    for entry in told["native"]:
        lines.append(f"  {entry['op']} {entry['count']}x" + (f": {entry['reason']}" if entry["reason"] else ""))
        if entry["advice"]:
            lines.append(f"    {entry['advice']}")
        if entry["nodes"]:
            more = entry["count"] - len(entry["nodes"])
            lines.append(f"    at {', '.join(entry['nodes'])}" + (f" and {more} more" if more > 0 else ""))
    if not told["native"]:
        lines.append("  none")
    return "\n".join(lines)
