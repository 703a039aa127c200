"""Tell build.rs what it must know of the installed TensorFlow and ONNX packages.

Usage: python tensorflow_info.py OUT_DIR

Prints one JSON object: version, compile_flags, library_dir, framework_library. Writes two serialized
FileDescriptorSets, OUT_DIR/tensorflow.fds and OUT_DIR/onnx.fds, from the descriptors that the packages carry
(neither wheel holds its .proto files in a usable place).
"""
import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def descriptor_set(*roots):
    """A FileDescriptorSet of `roots` and everything they import, dependencies first."""
    from google.protobuf import descriptor_pb2

    out, seen = descriptor_pb2.FileDescriptorSet(), set()

    def add(descriptor):
        if descriptor.name in seen:
            return
        seen.add(descriptor.name)
        for dependency in descriptor.dependencies:
            add(dependency)
        out.file.add().ParseFromString(descriptor.serialized_pb)

    for root in roots:
        add(root)
    return out.SerializeToString()


def main():
    out_dir = sys.argv[1]
    import onnx.onnx_ml_pb2
    import tensorflow as tf
    from tensorflow.core.framework import graph_pb2
    from tensorflow.core.protobuf import rewriter_config_pb2, saved_model_pb2

    with open(os.path.join(out_dir, "tensorflow.fds"), "wb") as f:
        f.write(descriptor_set(graph_pb2.DESCRIPTOR, rewriter_config_pb2.DESCRIPTOR, saved_model_pb2.DESCRIPTOR))
    with open(os.path.join(out_dir, "onnx.fds"), "wb") as f:
        f.write(descriptor_set(onnx.onnx_ml_pb2.DESCRIPTOR))
    link = tf.sysconfig.get_link_flags()
    print(json.dumps({
        "version": tf.__version__,
        "graph_def_version": tf.version.GRAPH_DEF_VERSION,
        "compile_flags": tf.sysconfig.get_compile_flags(),
        "library_dir": next(f[2:] for f in link if f.startswith("-L")),
        "framework_library": next(f[3:] for f in link if f.startswith("-l:")),
    }))


main()
