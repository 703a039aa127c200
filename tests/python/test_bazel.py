"""BUILD.bazel: a program that names //:tftrt has the op, by a linker that leaves out what nothing refers to."""

import os
import pathlib
import shutil
import subprocess

import pytest
import tensorflow as tf

import tftrt

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = ["BUILD.bazel", "registered.cc", "tensorflow.BUILD"]


@pytest.mark.skipif(shutil.which("bazel") is None, reason="bazel is not installed (Debian: bazel-bootstrap)")
def test_a_program_that_depends_on_the_target_has_the_op(tmp_path):
    library = pathlib.Path(tftrt.versions()["library"])
    # The repository as Bazel sees it, with the library that is tested at the place that BUILD.bazel names.
    repository = tmp_path / "tftrt"
    (repository / "target/release").mkdir(parents=True)
    (repository / "bazel").mkdir()
    for name in ("BUILD.bazel", "WORKSPACE", "LICENSE", "bazel/link.cc"):
        shutil.copy(ROOT / name, repository / name)
    os.symlink(library, repository / "target/release/libtftrt.so")
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    for name in FILES:
        shutil.copy(ROOT / "tests/bazel" / name, workspace / name)
    tensorflow = pathlib.Path(tf.__file__).parent
    (workspace / "WORKSPACE").write_text(
        'workspace(name = "tftrt_test")\n'
        f'local_repository(name = "tftrt", path = "{repository}")\n'
        f'new_local_repository(name = "tensorflow", path = "{tensorflow}", build_file = "//:tensorflow.BUILD")\n'
    )
    # Debian's Bazel has its own parts from what /etc/bazel/bazelrc names.
    bazel = ["bazel", "--batch", "--nohome_rc", f"--output_user_root={tmp_path / 'bazel'}"]
    options = ["--symlink_prefix=/", "--spawn_strategy=local", "--jobs=2", "--noshow_progress"]
    if pathlib.Path("/usr/share/bazel").is_dir():
        # Debian's Bazel 4 would fetch the rules of its toolchains from GitHub, and those that Debian has are too new for it.
        options += [f"--override_repository={path.name}={path}" for path in (ROOT / "tests/bazel/stand_in").iterdir()]
    done = subprocess.run([*bazel, "run", *options, "//:registered"], cwd=workspace, capture_output=True, text=True, timeout=600, check=False)
    subprocess.run(["chmod", "-R", "u+w", tmp_path / "bazel"], check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"TensorFlow {tf.__version__}: TRTEngineOp registered, its kernels registered"
