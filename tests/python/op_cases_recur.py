"""More of the table of `op_cases`: what TensorFlow's remapper fuses, cells of recurrent networks, and simulated quantisation."""

import numpy as np
import tensorflow as tf
from op_cases import BATCHES, IMAGES, OPEN_IMAGE, case, f16, f32, raw, spec, weights
from tensorflow.python.framework import op_def_library, op_def_registry


def node(op, **given):
    """A node whose op has no Python function, for the current graph; attributes that are not given have their defaults."""
    definition = op_def_registry.get(op)
    inferred = {a.number_attr or a.type_list_attr or a.type_attr for a in definition.input_arg}
    for attr in definition.attr:
        if attr.name in given or attr.name in inferred or not attr.HasField("default_value"):
            continue
        value = attr.default_value
        kind = value.WhichOneof("value")
        match kind:
            case "list":
                given[attr.name] = list(value.list.i) or [s.decode() for s in value.list.s]
            case "s":
                given[attr.name] = value.s.decode()
            case _:
                given[attr.name] = getattr(value, kind)
    # The op's own name begins with an underscore, and names of nodes do not.
    outputs = op_def_library._apply_op_helper(op, name="fused", **given)[2].outputs
    return outputs[0] if len(outputs) == 1 else outputs


# Convolutions with what stands behind them. TensorFlow's CPU kernels know these combinations; others are in test_fused.py.
def fused_conv(x, filter, args, ops, padding="SAME", strides=1, **options):
    strides = [1, 1, strides, strides] if options.get("data_format") == "NCHW" else [1, strides, strides, 1]
    return node("_FusedConv2D", input=x, filter=filter, args=list(args), host_args=[], num_args=len(args), strides=strides, padding=padding,
                fused_ops=ops, **options)


def statistics(channels):
    """Scale, offset, mean and variance."""
    return [weights(channels), weights(channels) + 1, weights(channels) * 0.3, np.abs(weights(channels)) + 0.5]


FILTER, BIAS = weights(3, 3, 3, 5, scale=0.5), weights(5)
for activation in ["", "Relu", "Relu6", "Elu", "LeakyRelu"]:
    for first in ["BiasAdd", "FusedBatchNorm"]:
        ops = [first, activation] if activation else [first]
        case("_FusedConv2D", lambda x, o=ops: fused_conv(x, FILTER, [BIAS] if o[0] == "BiasAdd" else statistics(5), o, epsilon=1e-3,
                                                         leakyrelu_alpha=0.3), [spec(OPEN_IMAGE)], IMAGES, "_".join(ops).lower(), low=-4, high=4)
for name, options in {
    "valid_stride": dict(padding="VALID", strides=2),
    "same_stride": dict(strides=2),
    "dilated": dict(dilations=[1, 2, 2, 1]),
    "explicit": dict(padding="EXPLICIT", explicit_paddings=[0, 0, 1, 2, 0, 1, 0, 0]),
}.items():
    case("_FusedConv2D", lambda x, o=options: fused_conv(x, FILTER, [BIAS], ["BiasAdd", "Relu"], **o), [spec(OPEN_IMAGE)], IMAGES, name)
case("_FusedConv2D", lambda x: fused_conv(x, FILTER, [BIAS], ["BiasAdd", "Relu"], data_format="NCHW", padding="EXPLICIT",
                                          explicit_paddings=[0, 0, 0, 0, 1, 1, 2, 0]), [spec([None, 3, None, None])], [[[2, 3, 6, 5]]], "nchw")
case("_FusedConv2D", lambda x: fused_conv(x, FILTER, statistics(5), ["FusedBatchNorm", "Relu"], data_format="NCHW"), [spec([None, 3, None, None])],
     [[[2, 3, 6, 5]]], "nchw_batch_norm")
case("_FusedConv2D", lambda x, b: fused_conv(x, FILTER, [b], ["BiasAdd", "Relu"]), [spec(OPEN_IMAGE), spec([5])], [[[2, 6, 5, 3], [5]]],
     "bias_at_run_time")
case("_FusedConv2D", lambda x, b: fused_conv(x, FILTER, [b], ["BiasAdd"], data_format="NCHW"), [spec([None, 3, 6, 5]), spec([5])],
     [[[2, 3, 6, 5], [5]]], "nchw_bias_at_run_time")
case("_FusedConv2D", lambda x: fused_conv(x, weights(3, 3, 1, 4), [weights(4)], ["BiasAdd", "Relu"]), [spec([None, 6, 6, 4])], [[[2, 6, 6, 4]]],
     "grouped")
case("_FusedConv2D", lambda x, w: fused_conv(x, w, [weights(4)], ["BiasAdd"]), [spec([None, 6, 6, 4]), spec([3, 3, 4, 4])],
     [[[2, 6, 6, 4], [3, 3, 4, 4]]], "filter_at_run_time")
case("_FusedConv2D", lambda x: tf.reduce_mean(tf.nn.conv2d(fused_conv(x, FILTER, [BIAS], ["BiasAdd", "Elu"]), weights(1, 1, 5, 2), 1, "SAME"),
                                              [1, 2]),
     [spec(OPEN_IMAGE)], IMAGES, "in_a_chain")
for activation in ["", "Relu", "Relu6", "Elu"]:
    ops = ["BiasAdd", activation] if activation else ["BiasAdd"]
    case("_FusedDepthwiseConv2dNative", lambda x, o=ops: node("_FusedDepthwiseConv2dNative", input=x, filter=weights(3, 3, 3, 2), args=[weights(6)],
                                                              strides=[1, 2, 2, 1], padding="SAME", fused_ops=o),
         [spec(OPEN_IMAGE)], IMAGES, "_".join(ops).lower())
for activation in ["", "Relu", "Relu6", "Elu", "LeakyRelu", "Tanh", "Sigmoid", "GeluExact", "GeluApproximate"]:
    ops = ["BiasAdd", activation] if activation else ["BiasAdd"]
    case("_FusedMatMul", lambda x, o=ops: node("_FusedMatMul", a=x, b=weights(3, 4), args=[weights(4)], fused_ops=o, leakyrelu_alpha=0.3),
         [spec([None, 3])], BATCHES, "_".join(ops).lower(), low=-3, high=3)
for a, b in [(True, False), (False, True), (True, True)]:
    case("_FusedMatMul", lambda x, y, a=a, b=b: node("_FusedMatMul", a=x, b=y, args=[weights(4)], transpose_a=a, transpose_b=b,
                                                     fused_ops=["BiasAdd", "Relu"]),
         [spec([3, None] if a else [None, 3]), spec([4, 3] if b else [3, 4])], [[[3, 5] if a else [5, 3], [4, 3] if b else [3, 4]]],
         "transposed" + "_a" * a + "_b" * b)
case("_FusedBatchNormEx", lambda x: node("_FusedBatchNormEx", x=x, side_input=[], activation_mode="Relu", is_training=False, epsilon=1e-3,
                                         **dict(zip(["scale", "offset", "mean", "variance"], statistics(4))))[0],
     [spec([None, None, None, 4])], [[[2, 3, 5, 4]]], "relu")

# One step of a recurrent network: all gates are outputs.
CELL = [spec([None, 3]), spec([None, 4]), spec([None, 4])]
CELL_SHAPES = [[[1, 3], [1, 4], [1, 4]], [[5, 3], [5, 4], [5, 4]]]
case("GRUBlockCell", lambda x, h: tuple(raw.GRUBlockCell(x=x, h_prev=h, w_ru=weights(7, 8), w_c=weights(7, 4), b_ru=weights(8), b_c=weights(4))),
     CELL[:2], [shapes[:2] for shapes in CELL_SHAPES])
case("GRUBlockCell", lambda x, h: raw.GRUBlockCell(x=x, h_prev=raw.GRUBlockCell(x=x, h_prev=h, w_ru=weights(7, 8), w_c=weights(7, 4), b_ru=weights(8),
                                                                              b_c=weights(4)).h,
                                                   w_ru=weights(7, 8), w_c=weights(7, 4), b_ru=weights(8), b_c=weights(4)).h,
     CELL[:2], [shapes[:2] for shapes in CELL_SHAPES], "two_steps")


def lstm_weights(inputs, units, dtype=f32):
    peepholes = {name: weights(units) + i for i, name in enumerate(["wci", "wcf", "wco"])}
    return {name: tf.cast(value, dtype) for name, value in {"w": weights(inputs + units, 4 * units), "b": weights(4 * units), **peepholes}.items()}


for name, options in {"": {}, "forget_bias": dict(forget_bias=0.25), "clip": dict(cell_clip=0.5), "no_clip": dict(cell_clip=-1.0, forget_bias=0.0),
                      "peephole": dict(use_peephole=True)}.items():
    case("LSTMBlockCell", lambda x, c, h, o=options: tuple(raw.LSTMBlockCell(x=x, cs_prev=c, h_prev=h, **lstm_weights(3, 4), **o)), CELL,
         CELL_SHAPES, name, low=-4, high=4)
case("LSTMBlockCell", lambda x, c, h: tuple(raw.LSTMBlockCell(x=x, cs_prev=c, h_prev=h, **lstm_weights(3, 4, f16))),
     [spec(s.shape, f16) for s in CELL], CELL_SHAPES, "float16", rtol=1e-2, atol=1e-2, fold=True)
SERIES = [spec([6, None, 3]), *CELL[1:]]
SERIES_SHAPES = [[[6, 1, 3], [1, 4], [1, 4]], [[6, 5, 3], [5, 4], [5, 4]]]
for op, function in [("BlockLSTM", raw.BlockLSTM), ("BlockLSTMV2", raw.BlockLSTMV2)]:
    for name, options in {"": {}, "clip": dict(cell_clip=0.5), "peephole": dict(use_peephole=True)}.items():
        case(op, lambda x, c, h, f=function, o=options: tuple(f(seq_len_max=tf.constant(6, tf.int64), x=x, cs_prev=c, h_prev=h, **lstm_weights(3, 4),
                                                                **o)),
             SERIES, SERIES_SHAPES, name)
    # Behind the last step that counts, TensorFlow clears cells and states only.
    case(op, lambda x, c, h, f=function: (lambda r: (r.cs, r.h))(f(seq_len_max=tf.constant(4, tf.int64), x=x, cs_prev=c, h_prev=h,
                                                                   **lstm_weights(3, 4))),
         SERIES, SERIES_SHAPES, "shorter")
    case(op, lambda x, c, h, w, f=function: f(seq_len_max=tf.constant(6, tf.int64), x=x, cs_prev=c, h_prev=h, **{**lstm_weights(3, 4), "w": w}).h,
         [*SERIES, spec([7, 16])], [[*SERIES_SHAPES[0], [7, 16]]], "weights_at_run_time")
    case(op, lambda x, c, h, f=function: f(seq_len_max=tf.shape(x, out_type=tf.int64)[0], x=x, cs_prev=c, h_prev=h, **lstm_weights(3, 4)).h,
         [spec([None, None, 3]), *CELL[1:]], [SERIES_SHAPES[0]], "open_length")

# Simulated quantisation: rounded to the last bit as TensorFlow rounds, halves and all.
INF = float("inf")


def steps(step, dtype=np.float32):
    """Around every step and every half step from -150 to 300 of them: the number itself and its two neighbours."""
    centres = (np.arange(-300, 601) / 2 * step).astype(dtype)
    return np.concatenate([np.nextafter(centres, dtype(-np.inf)), centres, np.nextafter(centres, dtype(np.inf)), [1e30, -1e30, 0.0, -0.0, INF, -INF]])


def exact(op, fn, values, name, **options):
    case(op, fn, [spec([None])], [], name, values=tuple((v,) for v in values), rtol=0, atol=0, **options)


RANGES = {"around_zero": (-6.0, 6.0), "to_six": (0.0, 6.0), "skewed": (-1.3, 2.9), "above": (0.5, 3.1), "below": (-3.3, -0.7),
          "powers": (-1.0, 127 / 128)}
WIDTHS = [(8, False), (8, True), (4, False), (2, True), (16, False)]
for name, (low, high) in RANGES.items():
    # Every width on the others' steps, too.
    numbers = np.concatenate([steps((high - low) / (2**bits - 1 - narrow)) for bits, narrow in WIDTHS])
    for op, function in [("FakeQuantWithMinMaxArgs", tf.quantization.fake_quant_with_min_max_args),
                         ("FakeQuantWithMinMaxVars", tf.quantization.fake_quant_with_min_max_vars)]:
        if op.endswith("Args") or name in ("skewed", "to_six"):
            exact(op, lambda x, f=function, r=(low, high): tuple(f(x, *r, num_bits=n, narrow_range=w) for n, w in WIDTHS), [numbers], name)
exact("FakeQuantWithMinMaxVars", lambda x: tf.quantization.fake_quant_with_min_max_vars(x, 0.0, 0.0), [steps(0.1)], "nothing_learnt")
case("FakeQuantWithMinMaxVars", lambda x, a, b: tf.quantization.fake_quant_with_min_max_vars(x, a, b), [spec([None, 3]), spec([]), spec([])],
     [], "range_at_run_time", values=((weights(2, 3), -1.0, 1.0),))
for name, narrow in [("", False), ("narrow", True)]:
    case("FakeQuantWithMinMaxVarsPerChannel",
         lambda x, w=narrow: tf.quantization.fake_quant_with_min_max_vars_per_channel(x, [-1.0, 0.0, -3.0], [1.0, 6.0, 2.5], narrow_range=w),
         [spec([None, 3])], [], name, values=((np.stack([steps(2 / 255), steps(6 / 255), steps(5.5 / 255)], 1),),), rtol=0, atol=0)
case("FakeQuantWithMinMaxVarsPerChannel",
     lambda x: tf.quantization.fake_quant_with_min_max_vars_per_channel(tf.nn.conv2d(x, FILTER, 1, "SAME"), [-1.0] * 5, [1.0, 2, 3, 4, 5]),
     [spec(OPEN_IMAGE)], IMAGES, "images", atol=0.03)
GIVEN = {"around_zero": (-1.5, 1.5), "skewed": (-1.3, 2.9), "other_side": (-2.9, 1.3), "positive": (0.0, 6.0), "powers": (-1.0, 1.0),
         "nothing": (0.0, 0.0)}
GIVEN_WAYS = [{}, dict(signed_input=False), dict(narrow_range=True), dict(num_bits=4), dict(num_bits=12, narrow_range=True),
              dict(round_mode="HALF_UP")]
for name, (low, high) in GIVEN.items():
    numbers = steps(max(-low, high) / 127 or 0.1)
    numbers = numbers[np.isfinite(numbers)]
    for op in ["QuantizeAndDequantizeV2", "QuantizeAndDequantizeV4"]:
        if op.endswith("V2") or name == "skewed":
            exact(op, lambda x, f=getattr(raw, op), r=(low, high): tuple(f(input=x, input_min=r[0], input_max=r[1], range_given=True, **o)
                                                                        for o in GIVEN_WAYS), [numbers], name)
exact("QuantizeAndDequantizeV3", lambda x: tuple(raw.QuantizeAndDequantizeV3(input=x, input_min=-1.3, input_max=2.9, range_given=True, **o) for o in [
    dict(num_bits=8), dict(num_bits=8, signed_input=False), dict(num_bits=4, narrow_range=True)]), [steps(2.9 / 127)[:-2]], "skewed")
OWN = [np.array(v, np.float32) for v in ([0.3, -1.7, 0.9, 1.2], [0.3, 1.7, 0.0, 0.011], [-0.4, -2.0], [0.0, 0.0], [-0.0, 0.0])]
OWN_WAYS = [{}, dict(narrow_range=True), dict(round_mode="HALF_UP", num_bits=3)]
for op in ["QuantizeAndDequantizeV2", "QuantizeAndDequantizeV4"]:
    exact(op, lambda x, f=getattr(raw, op): tuple(f(input=x, input_min=0.0, input_max=0.0, **o) for o in OWN_WAYS), OWN, "own_range")
    # Below zero there is nothing that unsigned steps could give.
    exact(op, lambda x, f=getattr(raw, op): f(input=x, input_min=0.0, input_max=0.0, signed_input=False), OWN[:2], "own_range_unsigned")
case("QuantizeAndDequantizeV2", lambda x: raw.QuantizeAndDequantizeV2(input=x, input_min=[0.0] * 3, input_max=[0.0] * 3, axis=1),
     [spec([None, 3, 2])], [[[2, 3, 2]], [[4, 3, 2]]], "own_range_of_channels", rtol=0, atol=0)
case("QuantizeAndDequantizeV2", lambda x, a, b: raw.QuantizeAndDequantizeV2(input=x, input_min=a, input_max=b, range_given=True),
     [spec([None]), spec([]), spec([])], [], "range_at_run_time", values=((steps(2.9 / 127)[:-2], -1.3, 2.9), (steps(0.1)[:-2], -3.0, 1.0)),
     rtol=0, atol=0)
# Of TensorFlow 2.21's ops only the third takes an axis with its ranges; the others want a scalar and a vector at once (test_quantised.py).
case("QuantizeAndDequantizeV3", lambda x, a, b: raw.QuantizeAndDequantizeV3(input=x, input_min=a, input_max=b, num_bits=8, axis=1),
     [spec([None, 2, 3]), spec([2]), spec([2])], [], "ranges_at_run_time", values=((weights(4, 2, 3), [-1.0, -0.5], [0.7, 1.5]),), rtol=0, atol=0)
case("QuantizeAndDequantizeV3", lambda x: raw.QuantizeAndDequantizeV3(input=x, input_min=[-1.0, -0.5, 0], input_max=[0.7, 1.5, 1], num_bits=8,
                                                                      axis=2),
     [spec([None, 2, 3])], [[[4, 2, 3]]], "ranges_of_channels", rtol=0, atol=0)
case("QuantizeAndDequantizeV3", lambda x: raw.QuantizeAndDequantizeV3(input=tf.nn.conv2d(x, FILTER, 1, "SAME"), input_min=[-1.0] * 5,
                                                                      input_max=[1.0, 2, 3, 4, 5], num_bits=8, axis=3),
     [spec(OPEN_IMAGE)], IMAGES, "images", atol=0.05)
case("QuantizeAndDequantizeV4", lambda x: raw.QuantizeAndDequantizeV4(input=x, input_min=-1.0, input_max=1.0, range_given=True),
     [spec([None, 3], f16)], BATCHES, "float16")

# Weights that are rounded on their way to what wants constants: front ends keep such nodes from constant folding.
WEIGHTS = {
    "tensor": lambda w: tf.quantization.fake_quant_with_min_max_vars(w, -2.0, 2.0, narrow_range=True),
    "channels": lambda w: tf.quantization.fake_quant_with_min_max_vars_per_channel(w, -np.linspace(1, 2, w.shape[-1]),
                                                                                     np.linspace(1, 2, w.shape[-1])),
    "inputs": lambda w: raw.QuantizeAndDequantizeV3(input=w, input_min=[-1.0] * w.shape[-2], input_max=[1.0] * w.shape[-2], num_bits=8,
                                                    axis=len(w.shape) - 2),
    "own_range": lambda w: raw.QuantizeAndDequantizeV2(input=tf.identity(w), input_min=[0.0] * w.shape[-1], input_max=[0.0] * w.shape[-1],
                                                       axis=len(w.shape) - 1, narrow_range=True),
    "four_bits": lambda w: raw.QuantizeAndDequantizeV2(input=w, input_min=-1.0, input_max=1.0, num_bits=4, range_given=True),
}


def each_way(function, *shape):
    return lambda x: tuple(function(x, rounded(weights(*shape))) for rounded in WEIGHTS.values())


case("Conv2D", each_way(lambda x, w: tf.nn.conv2d(x, w, 1, "SAME"), 3, 3, 3, 5), [spec(OPEN_IMAGE)], IMAGES, "rounded")
case("DepthwiseConv2dNative", each_way(lambda x, w: tf.nn.depthwise_conv2d(x, w, [1, 1, 1, 1], "SAME"), 3, 3, 3, 2), [spec(OPEN_IMAGE)], IMAGES,
     "rounded")
case("MatMul", each_way(tf.matmul, 3, 4), [spec([None, 3])], BATCHES, "rounded")
case("Conv2DBackpropInput", each_way(lambda x, w: tf.nn.conv2d_transpose(x, w, [2, 12, 10, 4], 2, "SAME"), 3, 3, 4, 3), [spec([2, 6, 5, 3])],
     [[[2, 6, 5, 3]]], "rounded")

# Ops that no TensorFlow of today runs on a CPU: test_fused.py makes their graphs by hand.
BY_HAND = {"FusedConv2DBiasActivation", "_MklFusedBatchMatMulV2"}
# Those that run on a GPU alone: test_cudnn.py.
CUDNN = {"CudnnRNN", "CudnnRNNV2", "CudnnRNNV3"}
