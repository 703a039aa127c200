"""plan_files.py against the library: what it reads is what the library wrote, and what it writes is what the library reads."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.compiler.tensorrt import trt_convert as trt

import plan_files

X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, dense_model):
    folder = tmp_path_factory.mktemp("saved") / "model"
    converter = trt.TrtGraphConverterV2(input_saved_model_dir=dense_model, use_dynamic_shape=True)
    converter.convert()
    converter.build(input_fn=lambda: iter([[X]]))
    converter.save(str(folder))
    return folder


def call(folder):
    return tf.saved_model.load(str(folder)).signatures["serving_default"](x=tf.constant(X))["y"].numpy()


def test_what_is_read_and_written_is_the_librarys_file_byte_for_byte(saved, tmp_path):
    (asset,) = plan_files.assets(saved)
    copy = tmp_path / "copy"
    plan_files.write_asset(copy, plan_files.read_asset(asset))
    assert copy.read_bytes() == asset.read_bytes()
    plan_files.change_plans(copy, lambda plan: None)
    assert copy.read_bytes() == asset.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["copy"]


def test_the_plan_taken_apart(saved, tmp_path):
    (asset,) = plan_files.assets(saved)
    (plan,) = plan_files.extract(saved, tmp_path / "plans")
    assert asset.name.endswith(plan["engine"])
    assert plan["header"]["profiles"][0]["shapes"] == [{"min": [3, 8], "opt": [3, 8], "max": [3, 8]}]
    assert (tmp_path / "plans" / f"{plan['engine']}.0.plan").stat().st_size == plan["bytes"] > 0
    (instance,) = plan_files.read_asset(asset)
    for damaged in (instance.plan[:-1], instance.plan + b"x", instance.plan[:100] + b"~" + instance.plan[101:], b"bare" * 40, b""):
        with pytest.raises(ValueError):
            plan_files.Plan.decode(damaged)


def test_a_changed_header_with_a_right_hash_is_read_and_refused_for_what_it_says(saved, dense_model, tmp_path, stats, capfd):
    """The library's check of the header is reached: not that of the hash."""
    copy = tmp_path / "model"
    shutil.copytree(saved, copy)
    (asset,) = plan_files.assets(copy)
    plan_files.change_plans(asset, lambda plan: plan.header.update(backend_version="0.0.1"))
    expected = tf.saved_model.load(dense_model).signatures["serving_default"](x=tf.constant(X))["y"].numpy()
    stats.reset()
    np.testing.assert_allclose(call(copy), expected, rtol=1e-5)
    assert stats["rejected_plans"] == 1
    log = capfd.readouterr().err
    assert "0.0.1" in log and asset.name in log


def test_a_foreign_header_field_is_damage(saved, tmp_path, stats, capfd):
    copy = tmp_path / "model"
    shutil.copytree(saved, copy)
    (asset,) = plan_files.assets(copy)
    plan_files.change_plans(asset, lambda plan: plan.header.update(no_such_field=1))
    call(copy)
    assert stats["rejected_plans"] == 1
    assert "no_such_field" in capfd.readouterr().err
