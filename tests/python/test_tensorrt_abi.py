"""abi.tsv, and the layouts in the Rust code, against TensorRT's own headers, by a C++ compiler.

The headers are those of TensorRT 11.4 and TensorRT-RTX 1.7, which the crate trtx-sys carries (`tests/abi/Cargo.toml`). For
8.6, 10.0, 10.16 and 11.1 no package manager has headers: those columns are held only by `sys/table.rs` and by what runs.
Needs no GPU and no TensorRT library.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SYS = ROOT / "src" / "engine" / "tensorrt" / "sys"
MANIFEST = ROOT / "tests" / "abi" / "Cargo.toml"

# Column of abi.tsv: folder of the headers.
HEADERS = {"11.4": "TRT-Enterprise-11.4", "rtx-1.7": "TRT-RTX-1.7"}

# Rows whose name alone does not say which function is meant.
OVERLOADS = {
    ("VRuntime", "deserializeCudaEngine(blob,size,pluginFactory)"): (
        "deserializeCudaEngine",
        "nvinfer1::ICudaEngine* (T::*)(void const*, std::size_t, void*) noexcept",
    ),
    ("VRuntime", "deserializeCudaEngine(blob,size)"): (
        "deserializeCudaEngine",
        "nvinfer1::ICudaEngine* (T::*)(void const*, std::size_t) noexcept",
    ),
    ("VCudaEngine", "createExecutionContext()"): (
        "createExecutionContext",
        "nvinfer1::IExecutionContext* (T::*)() noexcept",
    ),
    ("VCudaEngine", "createExecutionContext(strategy)"): (
        "createExecutionContext",
        "nvinfer1::IExecutionContext* (T::*)(nvinfer1::ExecutionContextAllocationStrategy) noexcept",
    ),
}

# Rows that the headers cannot confirm, each with the reason. Whatever is not here, and is not confirmed, fails.
UNCHECKED: dict[tuple[str, str, str], str] = {}

# API objects: two words, of which the second is the object behind, and deleted through slot 1 (`calls.rs`, Owned).
OBJECTS = [
    "IBuilder",
    "IBuilderConfig",
    "IOptimizationProfile",
    "INetworkDefinition",
    "ITensor",
    "IHostMemory",
    "ITimingCache",
    "IRuntime",
    "ICudaEngine",
    "IExecutionContext",
    "IEngineInspector",
]
# What their owner deletes has no public destructor to delete it by.
NOT_DELETED = {"ITensor", "IOptimizationProfile"}

# Methods whose comment in sys/ speaks of several at once.
GROUPED = {
    "getNbInputs": "int32_t (T::*)() const noexcept",
    "getNbOutputs": "int32_t (T::*)() const noexcept",
    "getInput": "ITensor* (T::*)(int32_t) const noexcept",
    "getOutput": "ITensor* (T::*)(int32_t) const noexcept",
    "code": "nvonnxparser::ErrorCode (T::*)() const noexcept",
    "node": "int (T::*)() const noexcept",
    "line": "int (T::*)() const noexcept",
    "desc": "char const* (T::*)() const noexcept",
    "file": "char const* (T::*)() const noexcept",
    "nodeName": "char const* (T::*)() const noexcept",
    "nodeOperator": "char const* (T::*)() const noexcept",
    "getTensorIOMode": "TensorIOMode (T::*)(char const*) const noexcept",
    "getTensorDataType": "DataType (T::*)(char const*) const noexcept",
    "getTensorLocation": "TensorLocation (T::*)(char const*) const noexcept",
}


def is_type(member: str, declared: str) -> str:
    """C++: whether a member function of a callback interface is of this type."""
    cls = member.rpartition("::")[0]
    return f"std::is_same_v<decltype(&{member}), {declared.replace('T::', cls + '::')} noexcept>"


# What the Rust code takes for granted in every version: (where, C++ expression, value).
CONSTANTS = [
    ("logger.rs, Severity::of", "nvinfer1::ILogger::Severity::kINTERNAL_ERROR", 0),
    ("logger.rs, Severity::of", "nvinfer1::ILogger::Severity::kERROR", 1),
    ("logger.rs, Severity::of", "nvinfer1::ILogger::Severity::kWARNING", 2),
    ("logger.rs, Severity::of", "nvinfer1::ILogger::Severity::kINFO", 3),
    ("logger.rs, Severity::of", "nvinfer1::ILogger::Severity::kVERBOSE", 4),
    ("interface.rs, cpp", "nvinfer1::APILanguage::kCPP", 0),
    ("interface.rs, InterfaceInfo", "sizeof(nvinfer1::InterfaceInfo)", 16),
    ("interface.rs, InterfaceInfo", "offsetof(nvinfer1::InterfaceInfo, major)", 8),
    ("interface.rs, InterfaceInfo", "offsetof(nvinfer1::InterfaceInfo, minor)", 12),
    # In registers, by value: neither destructor nor copy of its own.
    ("interface.rs, InterfaceInfo", "std::is_trivially_copyable_v<nvinfer1::InterfaceInfo>", 1),
    ("logger.rs, Log", is_type("nvinfer1::ILogger::log", "void (T::*)(nvinfer1::ILogger::Severity, char const*)"), 1),
    ("logger.rs, Log", "sizeof(nvinfer1::ILogger::Severity)", 4),
    ("allocator.rs", is_type("nvinfer1::IGpuAllocator::allocate", "void* (T::*)(uint64_t, uint64_t, uint32_t)"), 1),
    ("allocator.rs", is_type("nvinfer1::IGpuAllocator::reallocate", "void* (T::*)(void*, uint64_t, uint64_t)"), 1),
    ("allocator.rs", is_type("nvinfer1::IGpuAllocator::deallocate", "bool (T::*)(void*)"), 1),
    ("allocator.rs", is_type("nvinfer1::IGpuAllocator::allocateAsync", "void* (T::*)(uint64_t, uint64_t, uint32_t, cudaStream_t)"), 1),
    ("allocator.rs", is_type("nvinfer1::IGpuAllocator::deallocateAsync", "bool (T::*)(void*, cudaStream_t)"), 1),
    ("enumerations as 32-bit numbers", "sizeof(nvinfer1::TensorIOMode)", 4),
    ("enumerations as 32-bit numbers", "sizeof(nvinfer1::DataType)", 4),
    ("enumerations as 32-bit numbers", "sizeof(nvinfer1::TensorLocation)", 4),
    ("enumerations as 32-bit numbers", "sizeof(nvinfer1::BuilderFlag)", 4),
    ("dims.rs, MAX_DIMS", "nvinfer1::Dims::MAX_DIMS", 8),
    ("dims.rs, Dims64", "offsetof(nvinfer1::Dims, nbDims)", 0),
    ("dims.rs, Dims64", "offsetof(nvinfer1::Dims, d)", 8),
    ("calls.rs, Parser::number", "sizeof(nvonnxparser::ErrorCode)", 4),
    ("result.rs, code_name", "nvonnxparser::ErrorCode::kSUCCESS", 0),
    ("result.rs, code_name", "nvonnxparser::ErrorCode::kMODEL_DESERIALIZE_FAILED", 3),
    ("result.rs, code_name", "nvonnxparser::ErrorCode::kINVALID_NODE", 6),
    ("result.rs, code_name", "nvonnxparser::ErrorCode::kUNSUPPORTED_NODE", 8),
    ("result.rs, code_name", "nvonnxparser::ErrorCode::kREFIT_FAILED", 14),
]


def table() -> list[dict[str, str]]:
    head, *rows = [line.split("\t") for line in (SYS / "abi.tsv").read_text().splitlines()]
    return [dict(zip(head, row, strict=True)) for row in rows]


def called() -> set[tuple[str, str]]:
    """(class, member) of every method in the list `slots!`."""
    source = (SYS / "slots.rs").read_text()
    (listed,) = re.findall(r"^slots! \{\n(.*?)^\}$", source, re.S | re.M)
    found = {
        (cls, member)
        for cls, group in re.findall(r'^    \w+: \w+, "(\w+)" \{(.*?)^    \}$', listed, re.S | re.M)
        for member in re.findall(r'\w+ = "([^"]+)"', group)
    }
    assert len(found) == listed.count(' = "'), "the list has a form that this test does not read"
    return found


def qualified(cls: str) -> str:
    if cls.startswith("IParser"):
        return f"nvonnxparser::{cls}"
    return f"nvinfer1::apiv::{cls}" if cls.startswith("V") else f"nvinfer1::{cls}"


def program() -> str:
    """C++ that prints a line for every row."""
    lines = []
    for row in table():
        kind, cls, member = row["kind"], row["class"], row["member"]
        name = qualified(cls)
        if kind == "slot" and member == "(deleting destructor)":
            lines.append(f'DELETING({name}, "{cls}");')
        elif kind == "slot" and (cls, member) in OVERLOADS:
            function, signature = OVERLOADS[cls, member]
            lines.append(f'OVERLOAD({name}, "{cls}", "{member}", {function}, {signature});')
        elif kind == "slot":
            lines.append(f'SLOT({name}, "{cls}", {member});')
        elif kind == "enum":
            lines.append(f'ENUMERATOR({name}, "{cls}", {member});')
        elif kind == "sizeof":
            size = "nvinfer1::Dims{}.d[0]" if cls == "Dims_element" else name
            lines.append(f'VALUE("sizeof", "{cls}", "{member}", sizeof({size}));')
        elif kind == "version":
            lines.append(f'VALUE("version", "{cls}", "{member}", {cls});')
        else:
            raise AssertionError(f"abi.tsv has a row of a kind that this test does not check: {row}")
    for cls in OBJECTS:
        lines.append(f'IMPLEMENTATION({qualified(cls)}, "{cls}");')
        if cls not in NOT_DELETED:
            lines.append(f'DELETING({qualified(cls)}, "{cls}");')
    for _, expression, _ in CONSTANTS:
        lines.append(f'VALUE("constant", "", "{expression}", {expression});')
    return '#include "probe.h"\n#include <type_traits>\n\nint main() {\n  ' + "\n  ".join(lines) + "\n}\n"


def cargo(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["cargo", *arguments, "--locked", "--manifest-path", str(MANIFEST)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def headers() -> pathlib.Path:
    """The folder TensorRT-Headers of the pinned crate; fetched where it is not yet in Cargo's cache."""
    fetched = cargo("fetch")
    assert fetched.returncode == 0, f"the crate with the headers cannot be fetched:\n{fetched.stderr}"
    found = cargo("metadata", "--format-version", "1", "--offline")
    assert found.returncode == 0, found.stderr
    (package,) = [p for p in json.loads(found.stdout)["packages"] if p["name"] == "trtx-sys"]
    return pathlib.Path(package["manifest_path"]).parent / "TensorRT-Headers"


def answers(source: str, column: str, headers: pathlib.Path, folder: pathlib.Path) -> dict[tuple[str, str, str], str]:
    """What `source`, compiled against the headers of a column, prints: {(kind, class, member): value}."""
    (folder / "main.cc").write_text(source)
    compiler = os.environ.get("CXX") or shutil.which("c++") or "g++"
    # The headers include cuda_runtime_api.h for two names of types; the crate has a file of that name that declares them,
    # beside the folders of headers, so no CUDA is needed. `offsetof` in classes with a vtable is what is measured here.
    flags = ["-std=c++20", "-O0", "-Wno-deprecated-declarations", "-Wno-invalid-offsetof"]
    includes = ["-I", MANIFEST.parent, "-isystem", headers / HEADERS[column], "-isystem", headers]
    built = subprocess.run([compiler, *flags, *includes, "-o", folder / "main", folder / "main.cc"], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[:6000]
    ran = subprocess.run([folder / "main"], capture_output=True, text=True, check=True)
    values = {}
    for line in ran.stdout.splitlines():
        kind, cls, member, value = line.split("\t")
        assert values.setdefault((kind, cls, member), value) == value, line
    return values


@pytest.fixture(scope="module", params=HEADERS)
def measured(request, headers, tmp_path_factory) -> tuple[str, dict[tuple[str, str, str], str]]:
    """A column of abi.tsv, and what the compiler says of each of its rows."""
    return request.param, answers(program(), request.param, headers, tmp_path_factory.mktemp("abi"))


# `RETURN NAME(PARAMETERS)`, as the reasons beside the calls quote it from the headers.
SIGNATURE = re.compile(r"`([\w:]+(?: const)?[*&]?(?: const[*&])?) (\w+)\(([\w:*&, ]*)\)( const)?`")


def quoted_signatures() -> dict[str, set[str]]:
    """Name of a method: the types, as members of T, that `SAFETY` comments in sys/ give it."""
    found = {name: {signature} for name, signature in GROUPED.items()}
    for file in sorted(SYS.glob("*.rs")):
        text = re.sub(r"\n\s*// (?!SAFETY)", " ", file.read_text())
        for comment in re.findall(r"// SAFETY: (.*)", text):
            for result, name, parameters, const in SIGNATURE.findall(comment):
                found.setdefault(name, set()).add(f"{result} (T::*)({parameters}){const} noexcept")
    return found


@pytest.mark.parametrize("column", HEADERS)
def test_methods_have_the_types_that_the_calls_assume(headers, column, tmp_path):
    """Each call's `SAFETY` comment quotes the C++ declaration; one of those for its name has to be the very type."""
    quoted = quoted_signatures()
    slots = {(row["class"], row["member"]): row[column] for row in table() if row["kind"] == "slot"}
    wanted, lines = set(), []
    for cls, row in sorted(called()):
        function = OVERLOADS.get((cls, row), (row,))[0]
        # Rows of an overload have their type in OVERLOADS already.
        if function == row and function in quoted and slots[cls, row] != "-":
            wanted.add((cls, row))
            for i, signature in enumerate(sorted(quoted[function])):
                lines.append(f'OVERLOAD({qualified(cls)}, "{cls} {row}", "{i}", {function}, {signature});')
    source = '#include "probe.h"\nusing namespace nvinfer1;\nusing namespace nvonnxparser;\n\nint main() {\n  '
    values = answers(source + "\n  ".join(lines) + "\n}\n", column, headers, tmp_path)
    fitting = {tuple(key.split()) for (_, key, _), value in values.items() if value != "-"}
    assert len(wanted) >= 25
    assert wanted == fitting, f"of another type than the calls say: {sorted(wanted - fitting)}"


def test_each_call_quotes_its_type():
    quoted = quoted_signatures()
    rows = {OVERLOADS.get(call, (call[1],))[0] for call in called()} - {"(deleting destructor)"}
    assert rows <= quoted.keys(), f"no SAFETY comment has the declaration of {sorted(rows - quoted.keys())}"


def test_the_table_is_what_the_headers_say(measured):
    column, values = measured
    wrong = []
    checked = 0
    for row in table():
        key = row["kind"], row["class"], row["member"]
        if key in UNCHECKED:
            continue
        if values[key] == row[column]:
            checked += 1
        else:
            wrong.append(f"{' '.join(key)}: abi.tsv has {row[column]}, the headers of {HEADERS[column]} {values[key]}")
    assert not wrong, "\n".join(wrong)
    assert checked == len(table()) - len(UNCHECKED)


def test_every_method_that_is_called_is_checked():
    rows = {(row["class"], row["member"]) for row in table() if row["kind"] == "slot"}
    excused = {(cls, member) for kind, cls, member in UNCHECKED if kind == "slot"}
    calls = called()
    assert len(calls) > 30
    assert calls <= rows - excused, f"called, but not held against the headers: {sorted(calls - (rows - excused))}"


def test_what_is_excused_is_in_the_table_and_has_a_reason():
    rows = {(row["kind"], row["class"], row["member"]) for row in table()}
    assert set(UNCHECKED) <= rows
    assert all(UNCHECKED.values())
    assert {("slot", *key) for key in OVERLOADS} <= rows


def test_objects_are_as_calls_take_them(measured):
    """The object behind is the second word, and slot 1 deletes."""
    _, values = measured
    for cls in OBJECTS:
        assert values["offset", cls, "mImpl"] == "8", cls
        assert values["sizeof", cls, "-"] == "16", cls
        if cls not in NOT_DELETED:
            assert values["slot", cls, "(deleting destructor)"] == "1", cls


def test_each_class_that_is_deleted_by_its_destructor_is_checked():
    """`classes!` in calls.rs says how each goes away."""
    source = (SYS / "calls.rs").read_text()
    (listed,) = re.findall(r"^classes! \{\n(.*?)^\}$", source, re.S | re.M)
    found = re.findall(r"((?:    ///.*\n)+)    \w+: (\w+);\n", listed)
    assert len(found) == listed.count(": ") - sum(text.count(": ") for text, _ in found) > 5
    for text, deletion in found:
        cls = re.search(r"`(?:nvonnxparser::)?(I\w+)`", text)
        assert cls, f"the text does not name the class: {text}"
        if deletion == "Destructor":
            assert cls[1] in OBJECTS and cls[1] not in NOT_DELETED, cls[1]


@pytest.mark.parametrize(("where", "expression", "value"), CONSTANTS, ids=range(len(CONSTANTS)))
def test_constants_of_the_code(measured, where, expression, value):
    _, values = measured
    assert values["constant", "", expression] == str(value), where


def test_neighbours_have_slots_of_their_own(measured):
    """The comparison is not an empty one."""
    _, values = measured
    slots = [int(v) for (kind, cls, _), v in values.items() if (kind, cls) == ("slot", "VBuilderConfig") and v != "-"]
    assert len(slots) > 15 and len(set(slots)) == len(slots)
    # The first two are the destructor's.
    assert min(slots) >= 2
