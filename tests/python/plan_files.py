"""Asset files and the plans in them, read and changed from outside: for tests of what is done with a changed one, and for the benchmark
that runs a plan without TensorFlow. The forms are those of src/engine/asset.rs (file) and src/engine/plan.rs (container).

    python plan_files.py ASSET [OUT_DIR]        prints each plan's header; writes the payloads to OUT_DIR
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import struct
import sys

MAGIC = b"TFTRTpln"
# Magic, format, length of the header, length of the payload; the SHA-256 of these, the header and the payload follows.
_FIXED = struct.Struct("<8sIIQ")


@dataclasses.dataclass
class Plan:
    """A plan taken apart. `encode` gives it a hash that is right again, whatever was changed."""

    header: dict
    payload: bytes
    format: int = 1

    @classmethod
    def decode(cls, content: bytes) -> "Plan":
        """ValueError if the bytes are no whole container; the hash is checked."""
        if len(content) < _FIXED.size + 32:
            raise ValueError(f"a plan has at least {_FIXED.size + 32} bytes, found {len(content)}")
        magic, format, header_length, payload_length = _FIXED.unpack_from(content)
        if magic != MAGIC:
            raise ValueError(f"a plan begins with {MAGIC!r}, found {magic!r}")
        at = _FIXED.size + 32
        rest = content[at:]
        if len(rest) != header_length + payload_length:
            raise ValueError(f"expected {header_length + payload_length} bytes of header and payload, found {len(rest)}")
        if hashlib.sha256(content[: _FIXED.size] + rest).digest() != content[_FIXED.size : at]:
            raise ValueError("the plan's bytes do not have the SHA-256 that it names")
        return cls(json.loads(rest[:header_length]), rest[header_length:], format)

    def encode(self) -> bytes:
        header = json.dumps(self.header, separators=(",", ":")).encode()
        fixed = _FIXED.pack(MAGIC, self.format, len(header), len(self.payload))
        return fixed + hashlib.sha256(fixed + header + self.payload).digest() + header + self.payload


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = content[at]
        number, at, shift = number | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return number, at


@dataclasses.dataclass
class Instance:
    """One TRTEngineInstance of an asset file: the encoded fields before the plan (input shapes), and the plan's bytes."""

    fields: bytes
    plan: bytes


def read_asset(path) -> list[Instance]:
    """The engines of an asset file, in their order. An empty file has none."""
    import tensorflow as tf

    instances = []
    # Unlike a dataset, this iterator starts no thread: model_fuzzer.py forks after it.
    for record in tf.compat.v1.io.tf_record_iterator(str(path)):
        fields, plan, at = b"", b"", 0
        while at < len(record):
            begun = at
            key, at = _read_varint(record, at)
            if key & 7 != 2:
                raise ValueError(f"{path}: field {key >> 3} of a TRTEngineInstance has the wire type {key & 7}, and 2 was expected")
            length, at = _read_varint(record, at)
            at += length
            if key >> 3 == 2:
                plan = record[at - length : at]
            else:
                fields += record[begun:at]
        instances.append(Instance(fields, plan))
    return instances


def write_asset(path, instances: list[Instance]) -> None:
    """Puts a new asset file in the place of `path`, all at once: a reader finds the old one or the new one."""
    import tensorflow as tf

    path = pathlib.Path(path)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with tf.io.TFRecordWriter(str(new)) as writer:
        for instance in instances:
            writer.write(instance.fields + b"\x12" + _varint(len(instance.plan)) + instance.plan)
    new.replace(path)


def change_plans(path, change) -> None:
    """Each plan of an asset file after `change(Plan)`, which changes it in place, with right hashes and checksums."""
    instances = read_asset(path)
    for instance in instances:
        plan = Plan.decode(instance.plan)
        change(plan)
        instance.plan = plan.encode()
    write_asset(path, instances)


def replace_plans(path, change) -> None:
    """Each plan of an asset file replaced by the bytes `change(bytes)`. The file's own checksums are right, whatever the plan is."""
    instances = read_asset(path)
    for instance in instances:
        instance.plan = change(instance.plan)
    write_asset(path, instances)


def assets(folder) -> list[pathlib.Path]:
    """The asset files of a converted SavedModel that hold engines, by name."""
    return sorted(p for p in (pathlib.Path(folder) / "assets").glob("trt-serialized-engine.*") if p.stat().st_size > 0)


def extract(folder, out) -> list[dict]:
    """Writes the backends' own bytes of a SavedModel's plans to files of `out`.

    Each plan: `{"engine": node's name, "file": path, "bytes": n, "header": the container's header}`.
    """
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    found = []
    for asset in assets(folder):
        engine = asset.name.removeprefix("trt-serialized-engine.")
        for number, instance in enumerate(read_asset(asset)):
            plan = Plan.decode(instance.plan)
            file = out / f"{engine}.{number}.plan"
            file.write_bytes(plan.payload)
            found.append({"engine": engine, "file": str(file), "bytes": len(plan.payload), "header": plan.header})
    return found


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    for number, instance in enumerate(read_asset(sys.argv[1])):
        plan = Plan.decode(instance.plan)
        print(json.dumps(plan.header), len(plan.payload), "bytes")
        if len(sys.argv) == 3:
            pathlib.Path(sys.argv[2]).mkdir(parents=True, exist_ok=True)
            (pathlib.Path(sys.argv[2]) / f"{number}.plan").write_bytes(plan.payload)
