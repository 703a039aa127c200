"""kill -9 at random points of saving: afterwards every model loads, or its engine is rebuilt with a word.

`TFTRT_KILLS` is the number of kills (3). The caches on disk have the same in src/cache/disk/tests/processes.rs.
"""

import json
import os
import pathlib
import subprocess
import sys

from tftrt.cli import place

HERE = pathlib.Path(__file__).resolve().parent


def test_kills_while_saving_leave_models_that_load(tmp_path, dense_model):
    kills = int(os.environ.get("TFTRT_KILLS", "3"))
    done = subprocess.run(
        [sys.executable, HERE / "kill_save.py", dense_model, tmp_path, str(kills)], capture_output=True, text=True, timeout=120 + 60 * kills, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    print(told)
    assert told["kills"] == kills and sum(told["found"]["command"].values()) == kills + 1


def files(folder: pathlib.Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_is_replaced_whole_and_other_files_stay(tmp_path):
    out = tmp_path / "deep" / "out"
    for text in ("one", "two"):
        with place.whole(str(out)) as stage:
            (pathlib.Path(stage) / "saved_model.pb").write_text(text)
            (pathlib.Path(stage) / "assets").mkdir()
            (pathlib.Path(stage) / "assets" / text).write_text("")
            assert text == "one" or files(out)["saved_model.pb"] == "one"
        (out / "notes.txt").write_text("mine")
    assert files(out) == {"saved_model.pb": "two", "assets/two": "", "notes.txt": "mine"}
    assert [p.name for p in out.parent.iterdir()] == ["out"]


def test_an_error_leaves_what_was_there(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "saved_model.pb").write_text("old")
    try:
        with place.whole(str(out)) as stage:
            (pathlib.Path(stage) / "saved_model.pb").write_text("half")
            raise ValueError("a full disk")
    except ValueError:
        pass
    assert files(tmp_path) == {"out/saved_model.pb": "old"}


def test_what_was_abandoned_is_swept(tmp_path):
    old, young = tmp_path / ".out.1.tmp", tmp_path / ".out.2.tmp"
    for left in (old, young):
        left.mkdir()
    os.utime(old, (0, 0))
    with place.whole(str(tmp_path / "out")):
        pass
    assert not old.exists() and young.exists()
