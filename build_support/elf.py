"""What wheel.py asks of a shared library for Linux on x86-64: the system that it needs, and where it looks for others."""
import pathlib
import re
import subprocess
import sys

# What each manylinux platform has at least, by the newest version of symbols of each library (PEP 600 and the profiles of
# auditwheel). The oldest first: the first that holds all is the tag.
PLATFORMS = [
    ("manylinux_2_17_x86_64", {"GLIBC": (2, 17), "GLIBCXX": (3, 4, 19), "CXXABI": (1, 3, 7), "GCC": (4, 8, 0)}),
    ("manylinux_2_28_x86_64", {"GLIBC": (2, 28), "GLIBCXX": (3, 4, 24), "CXXABI": (1, 3, 11), "GCC": (7, 0, 0)}),
    ("manylinux_2_31_x86_64", {"GLIBC": (2, 31), "GLIBCXX": (3, 4, 28), "CXXABI": (1, 3, 12), "GCC": (7, 0, 0)}),
    ("manylinux_2_34_x86_64", {"GLIBC": (2, 34), "GLIBCXX": (3, 4, 29), "CXXABI": (1, 3, 13), "GCC": (7, 0, 0)}),
    ("manylinux_2_35_x86_64", {"GLIBC": (2, 35), "GLIBCXX": (3, 4, 30), "CXXABI": (1, 3, 13), "GCC": (12, 0, 0)}),
    ("manylinux_2_39_x86_64", {"GLIBC": (2, 39), "GLIBCXX": (3, 4, 33), "CXXABI": (1, 3, 15), "GCC": (14, 0, 0)}),
]
# What every such system has; and TensorFlow's library, which the package `tensorflow` brings.
LIBRARIES = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libgcc_s.so.1", "libstdc++.so.6"}
LIBRARIES |= {"ld-linux-x86-64.so.2", "libtensorflow_framework.so.2"}


def _readelf(option: str, library: pathlib.Path) -> str:
    return subprocess.run(["readelf", "--wide", option, library], check=True, capture_output=True, text=True).stdout


def needed_versions(library: pathlib.Path) -> dict[str, tuple[int, ...]]:
    """The newest version of each name (GLIBC, GLIBCXX, ...) that the library's undefined symbols ask for."""
    found: dict[str, tuple[int, ...]] = {}
    for name, numbers in re.findall(r"Name: ([A-Z]+)_([0-9.]+)\s", _readelf("--version-info", library)):
        found[name] = max(found.get(name, ()), tuple(map(int, numbers.split("."))))
    return found


def manylinux(library: pathlib.Path) -> str:
    """The platform tag that is true of the library. Ends the program where none is."""
    foreign = set(re.findall(r"\(NEEDED\).*\[(.+)\]", _readelf("--dynamic", library))) - LIBRARIES
    if foreign:
        sys.exit(f"{library} needs {', '.join(sorted(foreign))}, which is not on every machine: no manylinux tag is true of it")
    needed = needed_versions(library)
    for tag, has in PLATFORMS:
        if all(version <= has.get(name, ()) for name, version in needed.items()):
            return tag
    shown = ", ".join(f"{name}_{'.'.join(map(str, version))}" for name, version in sorted(needed.items()))
    sys.exit(f"{library} needs {shown}: newer than {PLATFORMS[-1][0]}; build it on an older system")


def set_runpath(library: pathlib.Path, path: str) -> None:
    """Replaces the library's RUNPATH, in place, by a shorter one."""
    old = re.search(r"\(RUNPATH\).*\[(.+)\]", _readelf("--dynamic", library))
    if old is None:
        sys.exit(f"{library} has no RUNPATH to replace")
    section = re.search(r"\.dynstr\s+STRTAB\s+[0-9a-f]+\s+([0-9a-f]+)\s+([0-9a-f]+)", _readelf("--sections", library))
    offset, size = int(section[1], 16), int(section[2], 16)
    before, after = old[1].encode(), path.encode()
    content = bytearray(library.read_bytes())
    at = content.find(b"\0" + before + b"\0", offset, offset + size) + 1
    if at == 0 or len(after) > len(before):
        sys.exit(f"{library}: the RUNPATH {old[1]} has no room for {path}")
    content[at : at + len(before)] = after.ljust(len(before), b"\0")
    library.write_bytes(content)

