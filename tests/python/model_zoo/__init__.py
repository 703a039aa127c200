"""The models of the whole-model table: one file per family, each ending in its list.

They are the architectures that users bring, at sizes that a CPU converts and runs in seconds. Weights are random, with scales at
which the output still depends on the input; nothing is downloaded.
"""

from . import classifiers, convolutional, detection, features, recurrent, transformers
from .model import Model

MODELS: dict[str, Model] = {
    model.name: model
    for family in (classifiers, convolutional, detection, transformers, recurrent, features)
    for model in family.MODELS
}
