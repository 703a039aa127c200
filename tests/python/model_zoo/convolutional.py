"""Image to image: a U-Net whose way up is transposed convolutions."""

import tensorflow as tf

from .model import Model, fill, images, of_keras

SPECS = [tf.TensorSpec([None, 64, 64, 3], tf.float32, name="image")]


def unet():
    layers = tf.keras.layers

    def block(x, filters):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
        return x

    x = image = layers.Input([64, 64, 3])
    skips = []
    for filters in (16, 32, 64):
        x = block(x, filters)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = block(x, 96)
    for filters, skip in zip((64, 32, 16), reversed(skips)):
        x = layers.Conv2DTranspose(filters, 3, strides=2, padding="same")(x)
        x = block(layers.Concatenate()([x, skip]), filters)
    mask = layers.Conv2D(4, 1, activation="softmax")(x)
    return of_keras(fill(tf.keras.Model(image, mask)), SPECS)


MODELS = [Model("UNet", unet, SPECS, images(64, 64, 3))]
