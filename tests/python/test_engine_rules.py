"""Never more engines than TF-TRT's rule would make, over the models of the zoo and with each of their op types kept native in turn.

Needs `cargo build --release --example engine_rules` first.
"""

import os
import pathlib
import subprocess

import pytest
from model_zoo import MODELS
from test_convert_direct import segment

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("TFTRT_EXAMPLES", ROOT / "target/release/examples")) / "engine_rules"
# Those that are quick to make; branches, skips, loops, attention and inputs that no engine takes are among them.
NAMES = ["UNet", "SSD", "BERT", "GPT2", "ViT", "LSTM", "GRU", "WideAndDeep", "MobileNetV3Small"]


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """`{model: [(op type kept native or "-", engines, engines by TF-TRT's rule)]}`."""
    folder = tmp_path_factory.mktemp("graphs")
    paths = {}
    for name in NAMES:
        trackable = MODELS[name].build()
        definition, _ = segment(trackable.function, MODELS[name].specs, fold=True)
        paths[folder / f"{name}.pb"] = name
        (folder / f"{name}.pb").write_bytes(definition.SerializeToString())
    said = subprocess.run([PROGRAM, *paths], capture_output=True, text=True, check=True).stdout
    found = {name: [] for name in NAMES}
    for line in said.splitlines():
        path, denied, ours, theirs = line.rsplit(" ", 3)
        found[paths[pathlib.Path(path)]].append((denied, int(ours), int(theirs)))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_never_more_engines(name, counts):
    assert counts[name][0][0] == "-"
    worse = [(denied, ours, theirs) for denied, ours, theirs in counts[name] if ours > theirs]
    assert worse == []


def test_the_comparison_has_something_to_compare(counts):
    """Models that are cut into many pieces are among them."""
    assert max(theirs for rows in counts.values() for _, _, theirs in rows) >= 5
