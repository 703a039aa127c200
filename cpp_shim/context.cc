// One call of TRTEngineOp: inputs, outputs, and the native segment.
#include <algorithm>
#include <utility>
#include <vector>

#include "tensorflow/core/common_runtime/device.h"
#include "tensorflow/core/common_runtime/function_body.h"
#include "tensorflow/core/common_runtime/function_def_utils.h"
#include "tensorflow/core/framework/attr_value_util.h"
#include "tensorflow/core/framework/function.h"
#include "tensorflow/core/graph/graph.h"
#include "tftrt/cpp_shim/call_parts.h"
#include "tftrt/cpp_shim/internal.h"

namespace tftrt {

using tensorflow::FunctionLibraryRuntime;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;

namespace {

bool on_device(OpKernelContext* context) { return context->op_device_context() != nullptr; }

// A function takes and gives int32 tensors in host memory; TRTEngineOp's are where its device is.
absl::Status to_host(OpKernelContext* context, const Tensor& from, Tensor* to) {
  tensorflow::AllocatorAttributes host;
  host.set_on_host(true);
  TF_RETURN_IF_ERROR(context->allocate_temp(from.dtype(), from.shape(), to, host));
  if (from.NumElements() == 0) return absl::OkStatus();
  return context->op_device_context()->CopyDeviceTensorToCPUSync(
      &from, "tftrt_native_segment", static_cast<tensorflow::Device*>(context->device()), to);
}

// A copy of the function whose large constants, but for integers, are empty and carry the mark; Rust gets their contents in order.
// Making a graph of a function copies all that the function holds, several times.
tensorflow::FunctionDef without_large_contents(const tensorflow::FunctionDef& def, size_t large, const std::string& mark,
                                               LargeContents& contents) {
  tensorflow::FunctionDef out;
  *out.mutable_signature() = def.signature();
  *out.mutable_attr() = def.attr();
  *out.mutable_arg_attr() = def.arg_attr();
  *out.mutable_resource_arg_unique_id() = def.resource_arg_unique_id();
  *out.mutable_ret() = def.ret();
  *out.mutable_control_ret() = def.control_ret();
  int64_t place = 0;
  for (const tensorflow::NodeDef& node : def.node_def()) {
    tensorflow::NodeDef* copy = out.add_node_def();
    copy->set_name(node.name());
    copy->set_op(node.op());
    copy->set_device(node.device());
    *copy->mutable_input() = node.input();
    for (const auto& [name, value] : node.attr()) {
      if (name == mark) continue;
      tensorflow::AttrValue& attr = (*copy->mutable_attr())[name];
      const tensorflow::TensorProto& tensor = value.tensor();
      // What is left out reads as zeros, and shapes may follow from parts of an integer constant.
      const bool integers = tensor.dtype() == tensorflow::DT_INT32 || tensor.dtype() == tensorflow::DT_INT64;
      if (node.op() != "Const" || name != "value" || tensor.tensor_content().size() <= large || integers) {
        attr = value;
        continue;
      }
      attr.mutable_tensor()->set_dtype(tensor.dtype());
      *attr.mutable_tensor()->mutable_tensor_shape() = tensor.tensor_shape();
      attr.mutable_tensor()->set_version_number(tensor.version_number());
      large_contents_take(contents, view(tensor.tensor_content()));
      (*copy->mutable_attr())[mark].set_i(place++);
    }
  }
  return out;
}

// The function that a node names as its segment. One that comes back to itself would be run without end.
absl::Status find_function(FunctionLibraryRuntime* library, rust::Slice<const uint8_t> name, tensorflow::NameAttrList* func,
                           const tensorflow::FunctionDef** out) {
  if (!func->ParseFromArray(name.data(), name.size())) return absl::InternalError("segment_func cannot be parsed");
  if (library == nullptr) return absl::InternalError("no function library in this context");
  const auto* definitions = library->GetFunctionLibraryDefinition();
  *out = definitions->Find(func->name());
  if (*out == nullptr) return absl::NotFoundError("the graph has no function '" + func->name() + "'");
  if (definitions->ReachableDefinitions(**out).Contains(func->name())) {
    return absl::InvalidArgumentError("the function '" + func->name() + "' calls itself");
  }
  return absl::OkStatus();
}

// Holds what a segment gives against the node's outputs: TensorFlow itself ends the process on one result too many.
template <typename TypeOf>
absl::Status check_results(const OpKernelContext* context, size_t results, TypeOf type_of) {
  const size_t outputs = context->num_outputs();
  if (results != outputs) {
    return absl::InvalidArgumentError("the function gives " + std::to_string(results) + " results, and the node has " +
                                      std::to_string(outputs) + " outputs");
  }
  for (size_t i = 0; i < results; ++i) {
    const tensorflow::DataType expected = context->expected_output_dtype(i);
    if (type_of(i) == expected) continue;
    return absl::InvalidArgumentError("result " + std::to_string(i) + " of the function is " +
                                      tensorflow::DataTypeString(type_of(i)) + ", and output " + std::to_string(i) +
                                      " of the node is " + tensorflow::DataTypeString(expected) + " (OutT)");
  }
  return absl::OkStatus();
}

}  // namespace

Call::Call(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Call::~Call() {
  if (!parts_ || !parts_->done) return;
  parts_->context->SetStatus(absl::InternalError("TRTEngineOp: the call was dropped before it was finished"));
  std::exchange(parts_->done, nullptr)();
}

size_t Call::input_count() const { return parts_->context->num_inputs(); }
size_t Call::output_count() const { return parts_->context->num_outputs(); }
int32_t Call::input_dtype(size_t i) const { return parts_->context->input_dtype(i); }
size_t Call::input_rank(size_t i) const { return parts_->context->input(i).dims(); }
int64_t Call::input_dim(size_t i, size_t dim) const { return parts_->context->input(i).dim_size(dim); }
size_t Call::input_address(size_t i) const {
  return reinterpret_cast<size_t>(parts_->context->input(i).tensor_data().data());
}
size_t Call::input_bytes(size_t i) const { return parts_->context->input(i).tensor_data().size(); }
size_t Call::library_id() const { return reinterpret_cast<size_t>(parts_->context->function_library()); }
rust::String Call::device_name() const { return to_rust(parts_->context->device()->name()); }

Number Call::allocate_output(size_t i, rust::Slice<const int64_t> dims) const {
  Number out{};
  out.outcome = to_outcome(guarded([&]() -> absl::Status {
    tensorflow::TensorShape shape;
    TF_RETURN_IF_ERROR(tensorflow::TensorShape::BuildTensorShape(absl::MakeConstSpan(dims.data(), dims.size()), &shape));
    OpKernelContext* context = parts_->context;
    if (parts_->outputs.empty()) parts_->outputs.resize(context->num_outputs());
    Tensor* tensor = &parts_->outputs[i];
    TF_RETURN_IF_ERROR(
        context->allocate_temp(context->expected_output_dtype(i), shape, tensor, context->output_alloc_attr(i)));
    out.value = reinterpret_cast<uint64_t>(tensor->tensor_data().data());
    return absl::OkStatus();
  }));
  return out;
}

Number Call::allocate_scratch(size_t bytes) const {
  Number out{};
  out.outcome = to_outcome(guarded([&]() -> absl::Status {
    const tensorflow::TensorShape shape({static_cast<int64_t>(bytes)});
    TF_RETURN_IF_ERROR(parts_->context->allocate_temp(tensorflow::DT_UINT8, shape, &parts_->scratch));
    out.value = reinterpret_cast<uint64_t>(parts_->scratch.tensor_data().data());
    return absl::OkStatus();
  }));
  return out;
}

Outcome Call::copy_input_to_host(size_t i, rust::Slice<uint8_t> to) const {
  return to_outcome(guarded([&]() -> absl::Status {
    const Tensor& from = parts_->context->input(i);
    if (from.tensor_data().size() != to.size()) return absl::InternalError("the input has another size");
    if (to.empty()) return absl::OkStatus();
    Tensor host;
    if (on_device(parts_->context)) {
      TF_RETURN_IF_ERROR(to_host(parts_->context, from, &host));
    } else {
      host = from;
    }
    const absl::string_view data = host.tensor_data();
    std::copy(data.begin(), data.end(), to.begin());
    return absl::OkStatus();
  }));
}

GpuHandle Call::gpu() const { return gpu_handle(parts_->context); }

int32_t Call::output_dtype(size_t i) const { return parts_->context->expected_output_dtype(i); }

void Call::commit_outputs() const {
  // Moved: whoever gets an output and is its only owner may write into it.
  for (size_t i = 0; i < parts_->outputs.size(); ++i) parts_->context->set_output(i, std::move(parts_->outputs[i]));
  parts_->outputs.clear();
}

std::unique_ptr<ResourceRef> Call::resource(rust::Str name, int64_t capacity, Outcome& out) const {
  return lookup_or_create(parts_->context, to_string(name), capacity, out);
}

Instantiated Call::instantiate(rust::Slice<const uint8_t> function, bool soft_placement) const {
  Instantiated out{};
  out.outcome = to_outcome(guarded([&]() -> absl::Status {
    tensorflow::NameAttrList func;
    const tensorflow::FunctionDef* def = nullptr;
    FunctionLibraryRuntime* library = parts_->context->function_library();
    TF_RETURN_IF_ERROR(find_function(library, function, &func, &def));
    FunctionLibraryRuntime::InstantiateOptions options;
    const std::string device = library->device()->name();
    options.target = device;
    // A function whose integers live on the device cannot be a multi-device function, which soft placement needs.
    const auto ints = def->attr().find(tensorflow::FunctionLibraryDefinition::kIntsOnDeviceAttr);
    out.ints_on_device = ints != def->attr().end() && ints->second.b();
    if (soft_placement && !out.ints_on_device) {
      options.is_multi_device_function = true;
      options.input_devices.assign(parts_->context->num_inputs(), device);
      options.output_devices.assign(parts_->context->num_outputs(), device);
      options.config_proto.set_allow_soft_placement(true);
    }
    FunctionLibraryRuntime::Handle handle;
    TF_RETURN_IF_ERROR(library->Instantiate(func.name(), tensorflow::AttrSlice(&func.attr()), options, &handle));
    tensorflow::DataTypeVector results;
    absl::Status fits = library->GetRetTypes(handle, &results);
    if (fits.ok()) fits = check_results(parts_->context, results.size(), [&](size_t i) { return results[i]; });
    if (!fits.ok()) {
      library->ReleaseHandle(handle).IgnoreError();
      return fits;
    }
    out.handle = handle;
    return absl::OkStatus();
  }));
  return out;
}

Blob Call::function_body(rust::Slice<const uint8_t> function, size_t large, rust::Str mark, LargeContents& contents) const {
  Blob out{};
  out.outcome = to_outcome(guarded([&]() -> absl::Status {
    tensorflow::NameAttrList func;
    const tensorflow::FunctionDef* def = nullptr;
    FunctionLibraryRuntime* library = parts_->context->function_library();
    TF_RETURN_IF_ERROR(find_function(library, function, &func, &def));
    const auto* definitions = library->GetFunctionLibraryDefinition();
    const tensorflow::FunctionDef outline = without_large_contents(*def, large, to_string(mark), contents);
    std::unique_ptr<tensorflow::FunctionBody> body;
    TF_RETURN_IF_ERROR(
        tensorflow::FunctionDefToBodyHelper(outline, tensorflow::AttrSlice(&func.attr()), definitions, &body));
    tensorflow::GraphDef graph;
    body->graph->ToGraphDef(&graph);
    return serialize(graph, "the segment", &out.bytes);
  }));
  return out;
}

void Call::fail(int32_t code, rust::Str message) const {
  parts_->context->SetStatus(absl::Status(static_cast<absl::StatusCode>(code), to_string(message)));
}

void release_function(size_t library, uint64_t handle) {
  // An error would say that the runtime has let go of it itself.
  guarded([&] { return reinterpret_cast<FunctionLibraryRuntime*>(library)->ReleaseHandle(handle); }).IgnoreError();
}

void finish_call(std::unique_ptr<Call> call) {
  tensorflow::AsyncOpKernel::DoneCallback done = std::exchange(call->parts().done, nullptr);
  // The memory goes first: what comes next in the graph may begin inside of done.
  call.reset();
  done();
}

namespace {

// What has to live until the native segment is done.
struct NativeRun {
  std::unique_ptr<Call> call;
  std::string why;
  std::vector<Tensor> results;
  // Whether the function has its int32 on the device, as this op's own inputs and outputs are.
  bool ints_on_device = false;

  // Whether a tensor of this type has to change its place on the way into the function and out of it.
  bool moves(tensorflow::DataType dtype) const {
    return dtype == tensorflow::DT_INT32 && !ints_on_device && on_device(call->parts().context);
  }
};

absl::Status give_output(const NativeRun& run, int i, const Tensor& result) {
  OpKernelContext* context = run.call->parts().context;
  if (!run.moves(result.dtype())) {
    context->set_output(i, result);
    return absl::OkStatus();
  }
  Tensor* output = nullptr;
  TF_RETURN_IF_ERROR(context->allocate_output(i, result.shape(), &output));
  if (result.NumElements() == 0) return absl::OkStatus();
  return context->op_device_context()->CopyCPUTensorToDeviceSync(
      &result, static_cast<tensorflow::Device*>(context->device()), output);
}

absl::Status start(const std::shared_ptr<NativeRun>& run, uint64_t handle) {
  OpKernelContext* context = run->call->parts().context;
  std::vector<Tensor> args;
  args.reserve(context->num_inputs());
  for (int i = 0; i < context->num_inputs(); ++i) {
    if (run->moves(context->input_dtype(i))) {
      Tensor host;
      TF_RETURN_IF_ERROR(to_host(context, context->input(i), &host));
      args.push_back(std::move(host));
    } else {
      args.push_back(context->input(i));
    }
  }
  FunctionLibraryRuntime* library = context->function_library();
  FunctionLibraryRuntime::Options options(context->step_id());
  options.rendezvous = context->rendezvous();
  options.cancellation_manager = context->cancellation_manager();
  options.collective_executor = context->collective_executor();
  options.runner = context->runner();
  options.run_all_kernels_inline = context->run_all_kernels_inline();
  options.step_container = context->step_container();
  options.stats_collector = context->stats_collector();
  options.source_device = library->device()->name();
  library->Run(options, handle, args, &run->results, [run](const absl::Status& status) {
    OpKernelContext* context = run->call->parts().context;
    absl::Status result = status;
    if (result.ok()) {
      result = check_results(context, run->results.size(), [&](size_t i) { return run->results[i].dtype(); });
    }
    for (size_t i = 0; result.ok() && i < run->results.size(); ++i) {
      result = give_output(*run, i, run->results[i]);
    }
    if (!result.ok()) {
      context->SetStatus(absl::Status(result.code(), run->why + std::string(result.message())));
    }
    std::unique_ptr<Call> call = std::move(run->call);
    run->results.clear();
    finish_call(std::move(call));
  });
  return absl::OkStatus();
}

}  // namespace

void run_native(std::unique_ptr<Call> call, uint64_t handle, bool ints_on_device, rust::Str why) {
  auto run = std::make_shared<NativeRun>();
  run->ints_on_device = ints_on_device;
  run->call = std::move(call);
  run->why = to_string(why);
  absl::Status status = guarded([&] { return start(run, handle); });
  if (!status.ok() && run->call) {
    run->call->parts().context->SetStatus(absl::Status(status.code(), run->why + std::string(status.message())));
    finish_call(std::move(run->call));
  }
}

}  // namespace tftrt
