"""A single-shot detector: a small backbone, boxes and scores of two feature maps, and what TensorFlow's detectors end in."""

import numpy as np
import tensorflow as tf

from .model import Model, Saved, fill, images

SIZE, CLASSES, SHAPES = 64, 6, 3
SPECS = [tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, name="image")]


def anchors(cells: int, scale: float) -> np.ndarray:
    """Centre (y, x) and size (h, w) of the boxes of a map of `cells` x `cells`, as parts of the image: [cells*cells*SHAPES, 4]."""
    centres = (np.arange(cells) + 0.5) / cells
    ratios = np.array([0.5, 1.0, 2.0]) ** 0.5
    y, x, ratio = np.meshgrid(centres, centres, ratios, indexing="ij")
    return np.stack([y, x, scale * ratio, scale / ratio], -1).reshape(-1, 4).astype(np.float32)


def ssd():
    layers = tf.keras.layers
    x = image = layers.Input([SIZE, SIZE, 3])
    maps = []
    for filters in (16, 32, 48, 64):
        x = layers.SeparableConv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
        maps.append(x)
    boxes, scores = [], []
    for found in maps[-2:]:
        boxes.append(layers.Reshape([-1, 4])(layers.Conv2D(SHAPES * 4, 3, padding="same")(found)))
        scores.append(layers.Reshape([-1, CLASSES])(layers.Conv2D(SHAPES * CLASSES, 3, padding="same")(found)))
    model = fill(tf.keras.Model(image, [layers.Concatenate(axis=1)(boxes), layers.Concatenate(axis=1)(scores)]))
    known = tf.constant(np.concatenate([anchors(8, 0.2), anchors(4, 0.4)]))

    @tf.function(input_signature=SPECS)
    def detect(image):
        offsets, logits = model(image, training=False)
        centre = offsets[..., :2] * 0.1 * known[:, 2:] + known[:, :2]
        half = tf.exp(offsets[..., 2:] * 0.2) * known[:, 2:] * 0.5
        corners = tf.concat([centre - half, centre + half], axis=-1)
        found = tf.image.combined_non_max_suppression(
            corners[:, :, tf.newaxis, :], tf.sigmoid(logits), 5, 20, iou_threshold=0.5, score_threshold=0.3
        )
        return {"boxes": found.nmsed_boxes, "scores": found.nmsed_scores, "classes": found.nmsed_classes, "count": found.valid_detections}

    return Saved(detect, model)


MODELS = [Model("SSD", ssd, SPECS, images(SIZE, SIZE, 3))]
