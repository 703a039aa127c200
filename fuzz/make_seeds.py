"""Writes the seeds of the fuzz targets to fuzz/seeds/<target>: `python fuzz/make_seeds.py` (needs TensorFlow and the plugin's Python side).

Segments are op cases of the tests: for every op type the smallest case that holds it, until all are held.
"""

import json
import os
import pathlib
import shutil
import struct
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/python"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from tensorflow.core.framework import node_def_pb2  # noqa: E402
from tensorflow.core.protobuf import rewriter_config_pb2  # noqa: E402

import plan_files  # noqa: E402

SEEDS = ROOT / "fuzz" / "seeds"
LARGEST = 4096


def write(target: str, seeds: dict[str, bytes]) -> None:
    folder = SEEDS / target
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in seeds.items():
        (folder / name).write_bytes(content)
    print(f"{target}: {len(seeds)} seeds, {sum(map(len, seeds.values()))} bytes")


def segments() -> dict[str, bytes]:
    """The smallest graphs that together hold every op type of the table's cases."""
    from op_cases import CASES

    from test_convert_direct import segment

    found = []
    for case in CASES:
        definition, _ = segment(case.fn, case.specs, case.fold)
        content = definition.SerializeToString(deterministic=True)
        found.append((len(content), case.name, {node.op for node in definition.node}, content))
    chosen, held = {}, set()
    for size, name, ops, content in sorted(found, key=lambda each: each[:2]):
        if ops - held and size <= LARGEST:
            chosen[name], held = content, held | ops
    missing = set().union(*(ops for _, _, ops, _ in found)) - held
    print("too large to be seeds:", ", ".join(sorted(missing)) or "none")
    return chosen


def plan(**changes) -> plan_files.Plan:
    bounds = {"min": [1, 8], "opt": [4, 8], "max": [8, 8]}
    header = {
        "backend": "tensorrt",
        "backend_version": "8.6.0",
        "compute_capability": [9, 0],
        "segment_sha256": "00" * 32,
        "settings_sha256": "11" * 32,
        "profiles": [{"shapes": [bounds, bounds], "values": [None, {"min": [1], "opt": [2], "max": [3]}]}],
    }
    return plan_files.Plan(header | changes, b"the backend's own bytes")


def plans() -> dict[str, bytes]:
    return {
        "plan": plan().encode(),
        "cpu": plan(backend="onnxruntime", compute_capability=None, profiles=[]).encode(),
        "bare": b"ftrt" + bytes(60),
        "newer": plan_files.Plan(plan().header, b"", 2).encode(),
    }


def record(data: bytes) -> bytes:
    """A TFRecord; its checksums are made right by the target."""
    return struct.pack("<Q", len(data)) + bytes(4) + data + bytes(4)


def assets() -> dict[str, bytes]:
    shape = b"\x0a\x08\x12\x02\x08\x08\x12\x02\x08\x08"
    one = record(shape + b"\x12" + plan_files._varint(len(plan().encode())) + plan().encode())
    return {"one": one, "two": one + record(b"\x12\x03abc"), "empty": b"", "scalar": record(b"\x0a\x00\x12\x01a")}


def attributes() -> dict[str, bytes]:
    def node(**attrs) -> bytes:
        definition = node_def_pb2.NodeDef(name="scope/TRTEngineOp_000_000", op="TRTEngineOp", input=["a", "b"])
        definition.attr["segment_func"].func.name = "TRTEngineOp_000_000_native_segment"
        definition.attr["InT"].list.type.extend([1, 3])
        definition.attr["OutT"].list.type.extend([1])
        for name, value in attrs.items():
            attr = definition.attr[name]
            if isinstance(value, bool):
                attr.b = value
            elif isinstance(value, int):
                attr.i = value
            elif isinstance(value, bytes):
                attr.s = value
            else:
                for dims in value:
                    shape = attr.list.shape.add()
                    for size in dims:
                        shape.dim.add(size=size)
        return definition.SerializeToString(deterministic=True)

    explicit = dict(_use_implicit_batch=False, profile_strategy=b"Range+Optimal", input_shapes=[[-1, 8], [4]], precision_mode=b"FP16")
    return {
        "implicit": node(precision_mode=b"FP32", static_engine=False, max_cached_engines_count=1, workspace_size_bytes=1 << 30, max_batch_size=8),
        "explicit": node(**explicit, static_engine=False, _profile_generation_mode=True, _allow_build_at_runtime=True),
        "static": node(**explicit, static_engine=True, serialized_segment=plan().encode()),
        "int8": node(precision_mode=b"INT8", use_calibration=True, calibration_data=b"TRT-8600-EntropyCalibration2\nx: 3c010a14\n"),
    }


def parameters() -> dict[str, bytes]:
    def optimizer(**given) -> bytes:
        config = rewriter_config_pb2.RewriterConfig.CustomGraphOptimizer(name="TensorRTOptimizer")
        for name, value in given.items():
            attr = config.parameter_map[name]
            if isinstance(value, bool):
                attr.b = value
            elif isinstance(value, int):
                attr.i = value
            else:
                attr.s = value
        return config.SerializeToString(deterministic=True)

    given = {
        "minimum_segment_size": 3,
        "max_batch_size": 8,
        "is_dynamic_op": True,
        "maximum_cached_engines": 1,
        "max_workspace_size_bytes": 1 << 30,
        "precision_mode": b"FP16",
        "use_calibration": False,
        "allow_build_at_runtime": True,
        "use_implicit_batch": False,
        "profile_strategy": b"Optimal",
        "trt_logger": b"logger",
    }
    function = {f"_tftrt_{name}": value for name, value in given.items()}
    return {"all": optimizer(**given), "function": optimizer(**function), "none": optimizer(), "wrong": optimizer(precision_mode=7, is_dynamic_op=b"x")}


def tables() -> dict[str, bytes]:
    heading = b"TRT-8601-EntropyCalibration2\n"
    return {
        "table": heading + b"TensorRTInputPH_0: 3c010a14\n(Unnamed Layer* 3) [Activation]_output: 3d0b2c41\n",
        "heading": heading,
        "other": b"\xff\x00 no table",
    }


if __name__ == "__main__":
    write("plan", plans())
    write("asset", assets())
    write("attributes", attributes())
    write("parameters", parameters())
    write("segment", segments())
    write("calibration", tables())
    print(json.dumps({"bytes": sum(p.stat().st_size for p in SEEDS.rglob("*") if p.is_file())}))
