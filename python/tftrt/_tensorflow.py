"""Which TensorFlow a library may be loaded into: the rule of src/tf/versions.rs, asked before anything is loaded."""

import re

# The first line of releases without TF-TRT of its own, and the newest that tftrt has been tested with.
OLDEST = (2, 18)
NEWEST_TESTED = (2, 21)


def _line(version: str) -> tuple[tuple[int, int] | None, bool]:
    """The line of a release, (2, 20), and whether it is a final one; a release candidate or a nightly build is not."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)(.*)$", version)
    return ((int(found[1]), int(found[2])), not found[4]) if found else (None, False)


def has_its_own(version: str) -> str | None:
    """Why TensorFlow `version` needs no tftrt, and cannot take it; None for 2.18 and later."""
    line, _ = _line(version)
    if line is None or line >= OLDEST:
        return None
    return (
        f"TensorFlow {version} is installed, which has TF-TRT built in: use it without tftrt "
        "(from tensorflow.python.compiler.tensorrt import trt_convert); tftrt is for TensorFlow 2.18 and newer, which have none"
    )


def mismatch(library, built: str, running: str) -> str | None:
    """Why the library at `library`, built for TensorFlow `built`, does not fit TensorFlow `running`; None where it does.

    It fits every final release of its own line: 2.18.1 is 2.18.0 with fixes. A release candidate fits itself alone.
    """
    (here, here_final), (own, own_final) = _line(running), _line(built)
    if running == built or (here is not None and here == own and here_final and own_final):
        return None
    newer = "" if here is None or here <= NEWEST_TESTED else ", which is newer than any that tftrt has been tested with (up to 2.21)"
    return (
        f"{library} was built for TensorFlow {built}, but TensorFlow {running} is installed{newer}: "
        f"install tensorflow=={built}, or the tftrt of this TensorFlow, or build the library again with TFTRT_PYTHON set to this Python"
    )
