"""The JSON files of bench.py as Markdown, beside what TF-TRT did on an H200, with issue 3's aims: met, not met, or not measured.

TF-TRT's figures: TensorFlow-TensorRT 2.17.1 on TensorRT 8.6.0, one H200, FP16, use_dynamic_shape, Optimal, the same models and way of timing.
"""

import json
import pathlib

# latency and pipelined in ms by batch, the rest in seconds.
TF_TRT = {
    "resnet50": {
        "latency": {1: 1.21, 64: 2.71},
        "pipelined": {1: 0.69, 64: 2.18},
        "native_latency": {1: 9.89, 64: 19.3},
        "native_pipelined": {1: 8.70, 64: 15.1},
        "convert": 9.7,
        "build": 209,
        "save": 2.7,
        "load_and_first_call": 3.5,
        "assets_mb": 75,
        "error_aim": 1e-3,
    },
    "bert": {
        "latency": {1: 2.01, 64: 4.95},
        "pipelined": {1: 1.47, 64: 4.38},
        "native_latency": {1: 9.29, 64: 22.7},
        "native_pipelined": {1: 8.43, 64: 20.2},
        "convert": 41,
        "build": 219,
        "save": 4.0,
        "load_and_first_call": 22.6,
        "assets_mb": 347,
        "error_aim": 3e-3,
    },
}


def _get(data, *keys):
    """A value inside nested dicts; None where a key is missing."""
    for key in keys:
        if not isinstance(data, dict) or key not in data:
            return None
        data = data[key]
    return data


def _number(value, digits=2) -> str:
    return "-" if value is None else f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _table(head: list, rows: list) -> str:
    line = lambda cells: "| " + " | ".join(map(str, cells)) + " |"
    return "\n".join([line(head), line(["---"] * len(head)), *map(line, rows)])


class Results:
    def __init__(self, folder: pathlib.Path):
        self.unreadable = []
        self.all = []
        for file in sorted(folder.glob("*.json")):
            try:
                data = json.loads(file.read_text())
            except ValueError as error:
                self.unreadable.append(f"{file.name}: {error}")
                continue
            if isinstance(data, dict) and "command" in data and "folder" in data:
                data["file"] = file.name
                base = data["folder"]
                data["model"] = next((m for m in ("mini_bert", "resnet50", "bert", "cnn") if base == m or base.startswith((m + "_", m + "-"))), base)
                data["native"] = base == data["model"]
                self.all.append(data)
        self.models = sorted({d["model"] for d in self.all}, key=lambda m: ("resnet50", "bert").index(m) if m in TF_TRT else 9)

    def of(self, command: str, model: str, **wanted) -> list:
        return [d for d in self.all if d["command"] == command and d["model"] == model and all(d.get(k) == v for k, v in wanted.items())]

    def one(self, command: str, model: str, **wanted):
        """The plain run (without a tag) where there are several."""
        found = sorted(self.of(command, model, **wanted), key=lambda d: d.get("tag") or "")
        return found[0] if found else None


def _batches(data: dict, part: str) -> list:
    return sorted(int(key[len(part) :]) for key in data if key.startswith(part) and key[len(part) :].isdigit())


def _raw_by_batch(results: Results, model: str) -> dict:
    """Pipelined and latency of the raw loop by batch; only where the model is one engine: parts do not add up to a whole."""
    data = results.one("raw", model)
    found = {}
    if data and len(_get(data, "extract", "plans") or []) == 1:
        for key, part in data.items():
            if key.startswith("plan_") and isinstance(part, dict) and "pipelined_ms" in part:
                found[part["shapes"][0][0]] = part
    return found


def _speed(results: Results, out: list, aims: list) -> None:
    rows = []
    for model in results.models:
        anchor, raw = TF_TRT.get(model, {}), _raw_by_batch(results, model)
        for data in results.of("speed", model):
            for batch in _batches(data, "speed_"):
                part = data[f"speed_{batch}"]
                own, native = part.get("converted", {}), part.get("native", {})
                error = _get(data, f"numerics_{batch}", "relative_error")
                ratio = own["pipelined_ms"] / raw[batch]["pipelined_ms"] if batch in raw and "pipelined_ms" in own else None
                name = f"{data['folder']} {data.get('tag') or ''}".strip()
                rows.append(
                    [name, batch]
                    + [f"{_number(native.get('latency_ms'))} / {_number(native.get('pipelined_ms'))}"]
                    + [f"**{_number(own.get('latency_ms'))} / {_number(own.get('pipelined_ms'))}**"]
                    + [f"{_number(_get(anchor, 'latency', batch))} / {_number(_get(anchor, 'pipelined', batch))}"]
                    + [_number(_get(raw, batch, "pipelined_ms")), _number(ratio)]
                    + ["-" if error is None else f"{error:.1e}", "; ".join(filter(None, [part.get("error")]))[:120] or "none"]
                )
                if not anchor:
                    continue
                if part.get("error"):
                    # It ran natively, say: its figures are shown, and meet no aim.
                    own, error, ratio = {}, None, None
                if batch == 1:
                    aims.append((f"{name}: latency at batch 1 under {anchor['latency'][1]} ms", own.get("latency_ms"), anchor["latency"][1], "ms"))
                if batch == 64:
                    aims.append((f"{name}: pipelined within 5% of raw TensorRT at batch 64", ratio, 1.05, "x"))
                aims.append((f"{name}: relative error at batch {batch} no worse than {anchor['error_aim']:.0e}", error, anchor["error_aim"], ""))
    if rows:
        head = ["model", "batch", "native TF latency / pipelined (ms)", "tftrt latency / pipelined (ms)", "TF-TRT 2.17.1 latency / pipelined (ms)"]
        out += ["## Speed", _table(head + ["raw TensorRT pipelined (ms)", "tftrt / raw", "relative error (FP32, TF32 off)", "fault"], rows)]


def _host_time(results: Results, out: list, aims: list) -> None:
    rows, histograms = [], []
    for data in (d for m in results.models for d in results.of("speed", m) + results.of("threads", m, native=False)):
        host = _get(data, "end", "stats", "host_time")
        if not host or not host.get("count"):
            continue
        run = f"{data['command']} {data['folder']} {data.get('tag') or ''}".strip()
        for kind in ("enqueued", "replayed"):
            one = host.get(kind)
            if not one or not one["count"]:
                continue
            means = one["mean_us"]
            times = [one[k] for k in ("p50_us", "p90_us", "p99_us")] + [means[k] for k in ("all", "find", "memory", "other")]
            rows.append([run, kind, one["count"], *(_number(time, 1) for time in times)])
            counts = (f"{'more' if upper is None else f'≤{upper}'}: {count}" for upper, count in one["histogram"])
            histograms.append([run, kind, ", ".join(counts)])
        if data["command"] == "speed":
            aims.append((f"{run}: host time around enqueue, median under 15 µs", host.get("p50_us"), 15.0, "µs"))
    if rows:
        out += ["## Host time of the op around TensorRT's enqueue or the graph's launch (µs)"]
        head = ["run", "calls", "count", "p50", "p90", "p99", "mean", "of it: find", "memory", "other"]
        out += [_table(head, rows), _table(["run", "calls", "by upper bound (µs)"], histograms)]
    else:
        aims.append(("host time around enqueue, median under 15 µs", None, 15.0, "µs"))


def _times(results: Results, out: list, aims: list) -> None:
    rows = []
    for model in results.models:
        anchor = TF_TRT.get(model, {})
        builds = {}
        for data in results.of("convert", model):
            times = [_get(data, part, "wall_s") if _get(data, part, "state") == "done" else None for part in ("convert", "build", "save")]
            assets = _get(data, "after", "assets")
            totals = _get(data, "build", "stats", "totals") or {}
            size = sum(assets.values()) / 1e6 if assets else None
            counts = ", ".join(f"{k} {totals[k]}" for k in ("builds", "disk_engine_hits", "failures", "native_fallbacks", "timing_cache_bytes") if totals.get(k))
            rows.append([f"{data['folder']} {data.get('tag') or ''}", *(_number(t) for t in times), _number(size, 0), len(_get(data, "graph", "engines") or []), counts])
            builds[data.get("tag")] = times[1]
            if model == "bert" and data.get("tag") in (None, "cold"):
                aims.append(("bert: convert() in under 10 s", times[0], 10.0, "s"))
        if anchor:
            rows.append([f"TF-TRT 2.17.1 {model}", anchor["convert"], anchor["build"], anchor["save"], anchor["assets_mb"], "-", ""])
            share = builds["warm"] / builds["cold"] if builds.get("warm") and builds.get("cold") else None
            aims.append((f"{model}: build with a warm timing cache in under a third of the cold one", share, 1 / 3, "x"))
    if rows:
        out += ["## Convert, build, save (s)", _table(["run", "convert", "build", "save", "assets (MB)", "engines", "counters"], rows)]
    rows = []
    for data in (d for m in results.models for d in results.of("rebuild", m)):
        times = [_get(data, f"{which}_build", "wall_s") if _get(data, f"{which}_build", "state") == "done" else None for which in ("first", "second")]
        share = times[1] / times[0] if all(times) else None
        rows.append([f"{data['folder']} {data.get('tag') or ''}", *(_number(t) for t in [*times, share])])
    if rows:
        out += ["## Built twice in one process, nothing on disk (s)", _table(["run", "first build", "second build", "second / first"], rows)]
    rows = []
    for model in results.models:
        for data in results.of("load", model):
            part = data.get("load", {})
            rows.append(
                [f"{data['folder']} {data.get('tag') or ''}"]
                + [_number(part.get(k), 3) for k in ("load_s", "first_call_s", "load_and_first_call_s", "second_call_s")]
                + [_number(_get(TF_TRT, model, "load_and_first_call")) if not data["native"] else ""]
            )
            if model in TF_TRT and not data["native"]:
                aim = TF_TRT[model]["load_and_first_call"] / 2
                found = None if part.get("error") else part.get("load_and_first_call_s")
                aims.append((f"{data['folder']}: load and first call under half of TF-TRT's ({aim:.2f} s)", found, aim, "s"))
    if rows:
        out += ["## Load and first call at batch 1, fresh process (s)", _table(["model", "load", "first call", "both", "second call", "TF-TRT: both"], rows)]


def _threads(results: Results, out: list, aims: list) -> None:
    rows, counts = [], (1, 2, 4, 8, 16)
    for model in results.models:
        for data in results.of("threads", model):
            parts = [data.get(f"threads_{n}", {}) for n in counts]
            rates = [None if part.get("error") else part.get("requests_per_s") for part in parts]
            rows.append([f"{data['folder']} {data.get('tag') or ''}", *(_number(r, 0) for r in rates)])
            if model == "resnet50" and not data["native"]:
                # Two percent: what one run differs from the next by.
                worst = min((b / a for a, b in zip(rates, rates[1:])), default=None) if all(rates) else None
                aims.append((f"{data['folder']}: requests/s never fall as threads are added (least step, to 2%)", worst, 0.98, ">"))
    if rows:
        out += ["## Requests per second at batch 1, result read back", _table(["model", *(f"{n} threads" for n in counts)], rows)]


def _memory(results: Results, out: list) -> None:
    rows = []
    for model in results.models:
        for data in results.of("memory", model):
            last = max(_batches(data, "batch_"), default=None)
            part = data.get(f"batch_{last}", {})
            before, used = _get(data, "before", "device_used_mb_cuda"), part.get("device_used_mb_cuda")
            grown = used - before if used is not None and before is not None else None
            figures = [part.get("tensorflow_peak_mb"), grown, part.get("device_used_mb"), part.get("host_peak_mb")]
            rows.append([f"{data['folder']} {data.get('tag') or ''}", last, *(_number(float(f) if f is not None else None, 0) for f in figures)])
    if rows:
        head = ["model", "largest batch", "TensorFlow's peak", "device, since start of process", "device, all in use", "host peak"]
        out += ["## Memory of one fresh process (MB)", _table(head, rows)]


def _failures(results: Results, out: list) -> None:
    lines = [f"- {name}" for name in results.unreadable]
    for data in results.all:
        for part, value in data.items():
            if isinstance(value, dict) and value.get("state") in ("failed", "running"):
                lines.append(f"- {data['file']}, {part}: {value.get('error') or 'the process ended in this part'}"[:400].replace("\n", " "))
        if data.get("error"):
            lines.append(f"- {data['file']}: {data['error'][-300:]}".replace("\n", " "))
    if lines:
        out += ["## Parts that failed", "\n".join(lines)]


def markdown(folder: pathlib.Path) -> str:
    results = Results(folder)
    out: list[str] = []
    aims: list[tuple] = []
    versions = next((d["start"] for d in results.all if _get(d, "start", "versions")), None)
    if versions:
        gpu = ", ".join(g.get("device_name", "?") for g in versions.get("gpu") or []) or "no GPU"
        library = _get(versions, "versions", "backends", versions.get("backend") or "", "version")
        out.append(f"{gpu}; TensorFlow {_get(versions, 'versions', 'tensorflow')}, {versions.get('backend')} {library}, tftrt {_get(versions, 'versions', 'tftrt')}")
    _speed(results, out, aims)
    _host_time(results, out, aims)
    _times(results, out, aims)
    _threads(results, out, aims)
    _memory(results, out)
    rows = []
    for text, found, aim, unit in aims:
        met = None if found is None else (found >= aim if unit == ">" else found < aim)
        rows.append([text, "-" if found is None else f"{found:.3g} {unit if unit != '>' else ''}".strip(), {None: "not measured", True: "met", False: "**not met**"}[met]])
    if rows:
        out += ["## Aims", _table(["aim", "found", ""], rows)]
    _failures(results, out)
    return "\n\n".join(out) or f"no results in {folder}"
