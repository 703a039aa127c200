"""The few messages of TensorFlow Serving that a file of warm-up requests is made of.

Serving's Python package is not needed for them: the fields, by number and type, are those of its public .proto files (predict.proto,
prediction_log.proto and model.proto under tensorflow_serving/apis). A message is what its field numbers say, so the names of the
types are our own, and do not collide with Serving's where that is installed, too.
"""

import functools

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.framework import tensor_pb2

_PACKAGE = "tftrt.serving"
_Field = descriptor_pb2.FieldDescriptorProto


def _add(message, name: str, number: int, kind: int, type_name: str = "", repeated: bool = False) -> None:
    label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    message.field.add(name=name, number=number, type=kind, label=label, type_name=type_name or None)


@functools.cache
def prediction_log() -> type:
    """The class of PredictionLog, with the fields of a logged Predict request."""
    file = descriptor_pb2.FileDescriptorProto(name="tftrt/serving.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.append(tensor_pb2.DESCRIPTOR.name)
    own = f".{_PACKAGE}."

    spec = file.message_type.add(name="ModelSpec")
    _add(spec, "name", 1, _Field.TYPE_STRING)
    _add(spec, "signature_name", 3, _Field.TYPE_STRING)

    request = file.message_type.add(name="PredictRequest")
    entry = request.nested_type.add(name="InputsEntry")
    entry.options.map_entry = True
    _add(entry, "key", 1, _Field.TYPE_STRING)
    _add(entry, "value", 2, _Field.TYPE_MESSAGE, "." + tensor_pb2.TensorProto.DESCRIPTOR.full_name)
    _add(request, "model_spec", 1, _Field.TYPE_MESSAGE, own + "ModelSpec")
    _add(request, "inputs", 2, _Field.TYPE_MESSAGE, own + "PredictRequest.InputsEntry", repeated=True)

    log = file.message_type.add(name="PredictLog")
    _add(log, "request", 1, _Field.TYPE_MESSAGE, own + "PredictRequest")

    top = file.message_type.add(name="PredictionLog")
    _add(top, "predict_log", 6, _Field.TYPE_MESSAGE, own + "PredictLog")

    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.PredictionLog"))
