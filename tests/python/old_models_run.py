"""Runs SavedModels as a program does that only serves them: `import tftrt`, and nothing else of it. A process of its own for test_old_models.py.

    python old_models_run.py CALLS.json FOLDER...

CALLS.json has a list of calls for each folder: `{"inputs": {name: .npy file}}`. A line of JSON on stdout for each model: the outputs' files and the
counters after each call, what `tftrt.stats()` tells of its resources, and how many resources there are once the model is gone. On stderr a line
`@@ FOLDER` stands in front of what the log says of each.
"""

import gc
import json
import os
import pathlib
import sys

import numpy as np
import tensorflow as tf

import tftrt


def totals() -> dict:
    return dict(tftrt.stats()["totals"])


def since(before: dict) -> dict:
    return {name: value - before.get(name, 0) for name, value in totals().items() if value != before.get(name, 0)}


def serve(folder: str, calls: list) -> dict:
    before = totals()
    told = {"folder": folder, "calls": []}
    try:
        model = tf.saved_model.load(folder)
        told["loaded"] = since(before)
        function = model.signatures["serving_default"]
        for number, call in enumerate(calls):
            inputs = {name: tf.constant(np.load(file)) for name, file in call["inputs"].items()}
            outputs = {}
            for name, value in function(**inputs).items():
                outputs[name] = f"{folder}.{number}.{name}.npy"
                np.save(outputs[name], value.numpy())
            told["calls"].append({"outputs": outputs, "counters": since(before)})
    except (OSError, tf.errors.OpError) as error:
        told["error"] = f"{type(error).__name__}: {error}"
    told["resources"] = tftrt.stats()["resources"]
    return told


def main(plan: pathlib.Path, folders: list[str]) -> None:
    for folder in folders:
        os.write(2, f"@@ {folder}\n".encode())
        told = serve(folder, json.loads(plan.read_text())[folder])
        gc.collect()
        told["left"] = [one["name"] for one in tftrt.stats()["resources"]]
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2:])
