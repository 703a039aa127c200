"""One architecture of every family in keras.applications."""

import functools

import tensorflow as tf

from .model import Model, fill, images, of_keras


def build(name, size, gain=1.6):
    tf.keras.utils.set_random_seed(0)
    # Scores instead of probabilities: a softmax would hide how far they are off.
    arguments = {"weights": None, "input_shape": (size, size, 3), "classes": 10, "classifier_activation": None}
    network = getattr(tf.keras.applications, name)(**arguments)
    return of_keras(fill(network, gain=gain), [tf.TensorSpec([None, size, size, 3], tf.float32, name="image")])


# Sizes: small ones, of which the last feature map still has more than one pixel. For most of them not the default.
SIZES = {
    "ResNet50V2": 64,
    "MobileNetV2": 64,
    "MobileNetV3Small": 64,
    "EfficientNetB0": 64,
    "EfficientNetV2B0": 64,
    "DenseNet121": 64,
    "InceptionV3": 107,
    "Xception": 80,
    "VGG16": 48,
    "NASNetMobile": 64,
    "ConvNeXtTiny": 64,
}

# These take images of 0 to 255, and scale them themselves.
OWN_SCALE = {"MobileNetV3Small", "EfficientNetB0", "EfficientNetV2B0", "ConvNeXtTiny"}

# Gates (squeeze and excite) and Swish take more away than ReLU.
GAINS = {"MobileNetV3Small": 2.5, "EfficientNetB0": 3.2, "EfficientNetV2B0": 2.3}

MODELS = [
    Model(
        name=name,
        build=functools.partial(build, name, size, GAINS.get(name, 1.6)),
        specs=[tf.TensorSpec([None, size, size, 3], tf.float32, name="image")],
        inputs=images(size, size, 3, low=0, high=255) if name in OWN_SCALE else images(size, size, 3),
    )
    for name, size in SIZES.items()
]
