"""The code of NVIDIA's user guide, sections 3, 4.3, 4.4.1 and 6.3.1, run as it is printed there.

Lines between the marks `guide >>>` and `<<< guide` are the guide's. It was written for Keras 2, and its text has lost
the calls behind some comments; what stands for them is marked.
"""

import re

import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_close


def _outputs(result) -> np.ndarray:
    """The one output of a converted function, whatever structure holds it."""
    (only,) = tf.nest.flatten(result)
    return only.numpy()


def test_section_3_mnist(mnist, tmp_path, monkeypatch, stats, capsys, run_isolated):
    monkeypatch.chdir(tmp_path)
    # guide >>>
    # Define a simple sequential model
    model = tf.keras.models.Sequential([
        tf.keras.layers.Flatten(input_shape=(28, 28)),
        tf.keras.layers.Dense(128, activation='relu'),
        tf.keras.layers.Dropout(0.2),
        tf.keras.layers.Dense(10)
    ])

    model.compile(optimizer='adam',
                  loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                  metrics=['accuracy'])

    mnist = tf.keras.datasets.mnist
    (x_train, y_train), (x_test, y_test) = mnist.load_data()
    x_train, x_test = x_train / 255.0, x_test / 255.0

    x_train = tf.cast(x_train, dtype=tf.float32)
    y_train = tf.cast(y_train, dtype=tf.float32)
    x_test = tf.cast(x_test, dtype=tf.float32)
    y_test = tf.cast(y_test, dtype=tf.float32)

    # Train the model
    model.fit(x_train, y_train, epochs=5)

    # Evaluate your model accuracy
    model.evaluate(x_test, y_test, verbose=2)

    # Save model in the saved_model format
    SAVED_MODEL_DIR = "./models/native_saved_model"
    # <<< guide: `model.save(SAVED_MODEL_DIR)` in Keras 2; Keras 3 writes a SavedModel with export().
    model.export(SAVED_MODEL_DIR)

    # guide >>>
    from tensorflow.python.compiler.tensorrt import trt_convert as trt

    # Instantiate the TF-TRT converter
    converter = trt.TrtGraphConverterV2(
        input_saved_model_dir=SAVED_MODEL_DIR,
        precision_mode=trt.TrtPrecisionMode.FP32
    )

    # Convert the model into TRT compatible segments
    trt_func = converter.convert()
    converter.summary()

    MAX_BATCH_SIZE = 128

    def input_fn():
        batch_size = MAX_BATCH_SIZE
        x = x_test[0:batch_size, :]
        yield [x]

    converter.build(input_fn=input_fn)

    # <<< guide
    assert "[*] Total number of TensorRT engines: 1" in capsys.readouterr().out
    assert stats["builds"] == 1
    stats.reset()

    # guide >>>
    # Get batches of test data and run inference through them
    infer_batch_size = MAX_BATCH_SIZE // 2
    for i in range(10):
        print(f"Step: {i}")

        start_idx = i * infer_batch_size
        end_idx = (i + 1) * infer_batch_size
        x = x_test[start_idx:end_idx, :]

        # <<< guide: `trt_func(x)`
        assert_close(_outputs(trt_func(x)), model(x).numpy())

    # Batches of 64 are served by the engine that was built for 128.
    assert stats["engine_calls"] == 10
    assert stats["native_fallbacks"] == 0
    assert stats["builds"] == 0

    # guide >>>
    OUTPUT_SAVED_MODEL_DIR = "./models/tftrt_saved_model"
    converter.save(output_saved_model_dir=OUTPUT_SAVED_MODEL_DIR)
    # <<< guide

    # A process that never saw the converter serves the saved engine, with no build.
    np.save(tmp_path / "x.npy", x_test[:64].numpy())
    run_isolated(f"""
        import numpy as np, tensorflow as tf, tftrt
        loaded = tf.saved_model.load({str(tmp_path / "models/tftrt_saved_model")!r})
        (y,) = loaded.signatures["serving_default"](tf.constant(np.load({str(tmp_path / "x.npy")!r}))).values()
        np.save({str(tmp_path / "y.npy")!r}, y.numpy())
        totals = tftrt.stats()["totals"]
        assert totals["engine_calls"] == 1 and totals["builds"] == 0 and totals["native_fallbacks"] == 0, totals
    """)
    assert_close(np.load(tmp_path / "y.npy"), model(x_test[:64]).numpy())


VOCAB_SIZE = 30522  # Model specific, look in the model README.


class BertLike(tf.Module):
    """One encoder layer with BERT's inputs and names, in raw ops; batch and sequence both open. Hidden size 32, 4 heads."""

    HIDDEN, HEADS, LONGEST = 32, 4, 512

    def __init__(self):
        super().__init__()
        random = np.random.default_rng(11)

        def weight(*shape):
            return tf.Variable((random.standard_normal(shape) * 0.2).astype(np.float32))

        hidden = self.HIDDEN
        # The guide feeds random numbers up to VOCAB_SIZE to all three inputs: the table of types is as long as that of words.
        self.words, self.types, self.positions = weight(VOCAB_SIZE, hidden), weight(VOCAB_SIZE, hidden), weight(self.LONGEST, hidden)
        self.query, self.key, self.value, self.out = (weight(hidden, hidden) for _ in range(4))
        self.up, self.up_bias, self.down = weight(hidden, 4 * hidden), weight(4 * hidden), weight(4 * hidden, hidden)
        self.gain, self.shift = weight(hidden), weight(hidden)

    def _norm(self, x):
        centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(centred * centred, axis=-1, keepdims=True)
        return centred * tf.math.rsqrt(variance + 1e-6) * self.gain + self.shift

    def _project(self, x, weight, batch, length):
        flat = tf.matmul(tf.reshape(x, [-1, self.HIDDEN]), weight)
        return tf.transpose(tf.reshape(flat, [batch, length, self.HEADS, self.HIDDEN // self.HEADS]), [0, 2, 1, 3])

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.int32, name="input_mask"),
            tf.TensorSpec([None, None], tf.int32, name="input_type_ids"),
            tf.TensorSpec([None, None], tf.int32, name="input_word_ids"),
        ]
    )
    def __call__(self, input_mask, input_type_ids, input_word_ids):
        shape = tf.shape(input_word_ids)
        batch, length = shape[0], shape[1]
        x = tf.gather(self.words, input_word_ids) + tf.gather(self.types, input_type_ids) + self.positions[:length]
        x = self._norm(x)
        query, key, value = (self._project(x, w, batch, length) for w in (self.query, self.key, self.value))
        bias = (1.0 - tf.cast(input_mask[:, tf.newaxis, tf.newaxis, :], tf.float32)) * -10000.0
        scores = tf.matmul(query, key, transpose_b=True) * (self.HIDDEN / self.HEADS) ** -0.5 + bias
        mixed = tf.transpose(tf.matmul(tf.nn.softmax(scores), value), [0, 2, 1, 3])
        mixed = tf.matmul(tf.reshape(mixed, [-1, self.HIDDEN]), self.out)
        x = self._norm(x + tf.reshape(mixed, [batch, length, self.HIDDEN]))
        wide = tf.matmul(tf.reshape(x, [-1, self.HIDDEN]), self.up) + self.up_bias
        wide = 0.5 * wide * (1.0 + tf.math.erf(wide * 2.0**-0.5))
        return {"bert_encoder_1": self._norm(x + tf.reshape(tf.matmul(wide, self.down), [batch, length, self.HIDDEN]))}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """The model and the folder of its SavedModel."""
    model, folder = BertLike(), str(tmp_path_factory.mktemp("bert") / "bert_base")
    tf.saved_model.save(model, folder)
    return model, folder


# Beside the shapes that were built for: what else the profiles of a strategy take in.
@pytest.mark.parametrize(
    ("PROFILE_STRATEGY", "also"),
    [("Range", [(1, 256)]), ("Optimal", []), ("Range+Optimal", [(1, 200)]), ("ImplicitBatchModeCompatible", [])],
)
def test_section_4_3_dynamic_shapes(bert, tmp_path, stats, capsys, PROFILE_STRATEGY, also):
    model, bert_saved_model_path = bert
    # guide >>> (4.3 and 4.4.1)
    from tensorflow.python.saved_model import signature_constants
    from tensorflow.python.saved_model import tag_constants
    from tensorflow.python.compiler.tensorrt import trt_convert as trt

    # Instantiate the TF-TRT converter
    converter = trt.TrtGraphConverterV2(
        input_saved_model_dir=bert_saved_model_path,
        precision_mode=trt.TrtPrecisionMode.FP32,
        use_dynamic_shape=True,
        dynamic_shape_profile_strategy=PROFILE_STRATEGY)

    # Convert the model to TF-TRT
    converter.convert()

    # Build engines for input sequence lengths of 128, and 384.
    input_shapes = [[(1, 128), (1, 128), (1, 128)],
                    [(1, 384), (1, 384), (1, 384)]]

    def input_fn():
        for shapes in input_shapes:
            # return a list of input tensors
            yield [tf.convert_to_tensor(
                np.random.randint(low=0, high=VOCAB_SIZE, size=x, dtype=np.int32)) for x in shapes]

    converter.build(input_fn=input_fn)

    # Save the converted model
    # <<< guide: bert_trt_path = "./models/tftrt_bert_base"
    bert_trt_path = str(tmp_path / "tftrt_bert_base")
    # guide >>>
    converter.save(output_saved_model_dir=bert_trt_path)
    converter.summary()

    # Some helper functions
    def get_func_from_saved_model(saved_model_dir):
        saved_model_loaded = tf.saved_model.load(
            saved_model_dir, tags=[tag_constants.SERVING])
        graph_func = saved_model_loaded.signatures[
            signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY]
        return graph_func, saved_model_loaded

    def get_random_input(batch_size, seq_length):
        # Generate random input data
        mask = tf.convert_to_tensor(np.ones((batch_size, seq_length), dtype=np.int32))
        type_id = tf.convert_to_tensor(np.zeros((batch_size, seq_length), dtype=np.int32))
        word_id = tf.convert_to_tensor(
            np.random.randint(0, VOCAB_SIZE, size=[batch_size, seq_length], dtype=np.int32))
        return {'input_mask': mask, 'input_type_ids': type_id, 'input_word_ids': word_id}

    # <<< guide
    assert re.search(r"Total number of TensorRT engines: [1-9]", capsys.readouterr().out)
    # guide >>>

    # Specify the output tensor interested in. This output is the 'classifier'
    result_key = 'bert_encoder_1'
    # <<< guide: `trt_func, _`, which lets go of the model while its function is used.
    trt_func, _loaded = get_func_from_saved_model(bert_trt_path)
    stats.reset()

    for shape in [(1, 128), (1, 384), *also]:
        # Get a random input tensor
        input_tensor = get_random_input(*shape)
        # guide >>>
        ## Let's run some inferences!
        for i in range(0, 10):
            print(f"Step: {i}")
            preds = trt_func(**input_tensor)
            result = preds[result_key]
        # <<< guide
        assert_close(result, model(**input_tensor)[result_key])

    assert stats["engine_calls"] >= 10 * (2 + len(also))
    assert stats["native_fallbacks"] == 0
    assert stats["builds"] == 0


def test_section_6_3_1_summary(dense_model, capsys):
    from tensorflow.python.compiler.tensorrt import trt_convert as trt

    converter = trt.TrtGraphConverterV2(input_saved_model_dir=dense_model)
    # guide >>>
    converter.convert()
    converter.summary()
    # <<< guide
    lines = capsys.readouterr().out.splitlines()
    header = next(line for line in lines if line.startswith("TRTEngineOP Name"))
    assert header.split("  ")[0] == "TRTEngineOP Name"
    for column in ("Device", "# Nodes", "# Inputs", "# Outputs", "Input DTypes", "Output Dtypes", "Input Shapes", "Output Shapes"):
        assert column in header
    (row,) = [line for line in lines if re.match(r"TRTEngineOp_\d{3,}_000 ", line)]
    assert "[[-1, 8]]" in row
    assert "[[-1, 4]]" in row
    counts = {line.strip("\t- x").split(": ")[0]: int(line.split(": ")[1].rstrip("x")) for line in lines if line.startswith("\t- ")}
    assert counts["MatMul"] == 2
    assert counts["Relu"] == 1
    assert "[*] Total number of TensorRT engines: 1" in lines
    (share,) = [line for line in lines if line.startswith("[*] % of OPs Converted:")]
    converted, total = map(int, re.search(r"\[(\d+)/(\d+)\]", share).groups())
    assert converted == sum(counts.values())
    assert total > converted


def test_experimental_converter_is_the_same_class():
    from tensorflow.python.compiler.tensorrt import trt_convert as trt

    assert tf.experimental.tensorrt.Converter is trt.TrtGraphConverterV2
