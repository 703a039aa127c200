// Registration of ops, and TensorFlow's log.
#include <vector>

#include "google/protobuf/text_format.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tftrt/cpp_shim/internal.h"
#include "tftrt/cpp_shim/versions.h"

namespace tftrt {
namespace {

// The attribute output_shapes where it is there and fits; else unknown shapes.
absl::Status infer_from_attribute(tensorflow::shape_inference::InferenceContext* c) {
  std::vector<tensorflow::PartialTensorShape> shapes;
  if (!c->GetAttr("output_shapes", &shapes).ok() || static_cast<int>(shapes.size()) != c->num_outputs()) {
    return tensorflow::shape_inference::UnknownShape(c);
  }
  for (int i = 0; i < c->num_outputs(); ++i) {
    tensorflow::shape_inference::ShapeHandle shape;
    TF_RETURN_IF_ERROR(c->MakeShapeFromPartialTensorShape(shapes[i], &shape));
    c->set_output(i, shape);
  }
  return absl::OkStatus();
}

}  // namespace

rust::String register_op(rust::Str text) {
  std::string problem;
  absl::Status status = guarded([&]() -> absl::Status {
    tensorflow::OpDef def;
    if (!google::protobuf::TextFormat::ParseFromString(to_string(text), &def)) {
      return absl::InternalError("an op_defs/*.pbtxt compiled into the library cannot be parsed");
    }
    const tensorflow::OpRegistrationData* present = nullptr;
    if (tensorflow::OpRegistry::Global()->LookUp(def.name(), &present).ok()) {
      return absl::AlreadyExistsError("this process already has an op named " + def.name() +
                                      " (TensorFlow 2.17 and older bring their own; or the library was loaded twice)");
    }
    const bool is_engine = def.name() == "TRTEngineOp";
    tensorflow::OpRegistry::Global()->Register([def, is_engine](tensorflow::OpRegistrationData* data) {
      data->op_def = def;
      data->shape_inference_fn = is_engine ? infer_from_attribute : tensorflow::shape_inference::UnknownShape;
      return absl::OkStatus();
    });
    return absl::OkStatus();
  });
  return to_rust(status.ok() ? std::string() : std::string(status.message()));
}

rust::String register_kernels() {
  absl::Status status = guarded([]() -> absl::Status {
    register_engine_kernels();
    register_resource_kernels();
    register_optimizer();
    register_metrics();
    register_placement();
    return absl::OkStatus();
  });
  return to_rust(status.ok() ? std::string() : std::string(status.message()));
}

void log_message(int32_t severity, rust::Str message) {
  const std::string text = to_string(message);
  switch (severity) {
    case 0:
      LOG(INFO) << "tftrt: " << text;
      break;
    case 1:
      LOG(WARNING) << "tftrt: " << text;
      break;
    default:
      LOG(ERROR) << "tftrt: " << text;
  }
}

// Not VLOG: its file is the one that it stands in.
int32_t vlog_level(rust::Str file) { return vlog_level_of(to_string(file)); }

void vlog_message(int32_t level, rust::Str file, uint32_t line, rust::Str message) {
  log_verbose(level, to_string(file), static_cast<int>(line), "tftrt: " + to_string(message));
}

}  // namespace tftrt
