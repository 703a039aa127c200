// A converted SavedModel in a C++ session: the program of the user guide, section 4.4.2, with real inputs and outputs that a test
// can compare.
//
//   session --model_path=DIR [--plugin=libtftrt.so] [--inputs=DIR --outputs=DIR] [--on_device]
//
// The inputs are DIR/<name in the signature>.pb, a TensorProto each, or made up where no folder is given. The last line on stdout
// is the plugin's counters in JSON.
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common.h"
#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/common_runtime/device.h"
#include "tensorflow/core/common_runtime/device_mgr.h"
#include "tensorflow/core/platform/init_main.h"
#include "tensorflow/core/public/session.h"
#include "tensorflow/core/util/command_line_flags.h"

namespace {

using tensorflow::Tensor;
using tensorflow::TensorInfo;

struct Options {
  std::string model_path, signature_key = "serving_default", plugin, inputs, outputs;
  int32_t batch_size = 64, input_size = 128, iterations = 10;
  bool on_device = false;
};

// By the name in the signature.
using Infos = std::map<std::string, TensorInfo>;

absl::Status LoadModel(const Options& options, tensorflow::SavedModelBundle* bundle, Infos* inputs, Infos* outputs) {
  tensorflow::SessionOptions session_options;
  auto* optimizer_options = session_options.config.mutable_graph_options()->mutable_optimizer_options();
  optimizer_options->set_opt_level(tensorflow::OptimizerOptions::L0);
  optimizer_options->set_global_jit_level(tensorflow::OptimizerOptions::OFF);
  session_options.config.mutable_gpu_options()->set_force_gpu_compatible(true);
  session_options.config.mutable_gpu_options()->set_allow_growth(true);
  // The front end puts the engines' resources on "/device:GPU:*": so that a machine without a GPU loads the model, too.
  session_options.config.set_allow_soft_placement(true);
  TF_RETURN_IF_ERROR(LoadSavedModel(session_options, tensorflow::RunOptions(), options.model_path, {"serve"}, bundle));
  const auto& signatures = bundle->GetSignatures();
  const auto found = signatures.find(options.signature_key);
  if (found == signatures.end()) {
    return absl::NotFoundError(options.model_path + " has no signature '" + options.signature_key + "'");
  }
  *inputs = Infos(found->second.inputs().begin(), found->second.inputs().end());
  *outputs = Infos(found->second.outputs().begin(), found->second.outputs().end());
  return absl::OkStatus();
}

// A tensor of the signature's type and shape, with batch_size and input_size for what is open.
absl::Status MakeInput(const Options& options, const TensorInfo& info, Tensor* tensor) {
  tensorflow::TensorShape shape;
  for (int i = 0; i < info.tensor_shape().dim_size(); ++i) {
    const int64_t size = info.tensor_shape().dim(i).size();
    shape.AddDim(i == 0 ? options.batch_size : size < 0 ? options.input_size : size);
  }
  *tensor = Tensor(info.dtype(), shape);
  switch (info.dtype()) {
    case tensorflow::DT_FLOAT:
      for (int64_t i = 0; i < tensor->NumElements(); ++i) tensor->flat<float>()(i) = static_cast<float>(i % 17) / 17;
      return absl::OkStatus();
    case tensorflow::DT_INT32:
      tensor->flat<int32_t>().setConstant(1);
      return absl::OkStatus();
    default:
      return absl::UnimplementedError("no inputs are made up of type " + tensorflow::DataTypeString(info.dtype()) + ": give --inputs");
  }
}

// The device that the engines run on: the first GPU, else the CPU.
absl::Status EngineDevice(tensorflow::Session* session, tensorflow::Device** device) {
  const tensorflow::DeviceMgr* devices = nullptr;
  TF_RETURN_IF_ERROR(session->LocalDeviceManager(&devices));
  if (devices->LookupDevice("GPU:0", device).ok()) return absl::OkStatus();
  return devices->LookupDevice("CPU:0", device);
}

absl::Status ToDevice(tensorflow::Device* device, Tensor* tensor) {
  const auto* info = device->tensorflow_accelerator_device_info();
  if (info == nullptr) return absl::OkStatus();  // The CPU: it is there.
  Tensor there(device->GetAllocator(tensorflow::AllocatorAttributes()), tensor->dtype(), tensor->shape());
  TF_RETURN_IF_ERROR(info->default_context->CopyCPUTensorToDeviceSync(tensor, device, &there));
  *tensor = there;
  return absl::OkStatus();
}

// As Session::Run, with inputs that are on the device already.
absl::Status RunOnDevice(const Options& options, tensorflow::Session* session,
                         const std::vector<std::pair<std::string, Tensor>>& inputs, const std::vector<std::string>& fetches,
                         std::vector<Tensor>* outputs) {
  tensorflow::Device* device = nullptr;
  TF_RETURN_IF_ERROR(EngineDevice(session, &device));
  std::cout << "inputs on " << device->name() << std::endl;
  tensorflow::CallableOptions callable;
  callable.mutable_fetch()->Assign(fetches.begin(), fetches.end());
  std::vector<Tensor> feeds;
  for (const auto& [name, tensor] : inputs) {
    callable.add_feed(name);
    (*callable.mutable_feed_devices())[name] = device->name();
    feeds.push_back(tensor);
    TF_RETURN_IF_ERROR(ToDevice(device, &feeds.back()));
  }
  tensorflow::Session::CallableHandle handle;
  TF_RETURN_IF_ERROR(session->MakeCallable(callable, &handle));
  absl::Status status;
  for (int i = 0; i < options.iterations && status.ok(); ++i) status = session->RunCallable(handle, feeds, outputs, nullptr);
  status.Update(session->ReleaseCallable(handle));
  return status;
}

absl::Status Main(const Options& options) {
  TF_RETURN_IF_ERROR(tests::LoadPlugin(options.plugin));
  tensorflow::SavedModelBundle bundle;
  Infos input_infos, output_infos;
  TF_RETURN_IF_ERROR(LoadModel(options, &bundle, &input_infos, &output_infos));

  std::vector<std::pair<std::string, Tensor>> inputs;
  for (const auto& [name, info] : input_infos) {
    inputs.emplace_back(info.name(), Tensor());
    Tensor* tensor = &inputs.back().second;
    TF_RETURN_IF_ERROR(options.inputs.empty() ? MakeInput(options, info, tensor)
                                              : tests::ReadTensor(options.inputs + "/" + name + ".pb", tensor));
  }
  std::vector<std::string> names, fetches;
  for (const auto& [name, info] : output_infos) {
    names.push_back(name);
    fetches.push_back(info.name());
  }

  std::vector<Tensor> outputs;
  if (options.on_device) {
    TF_RETURN_IF_ERROR(RunOnDevice(options, bundle.session.get(), inputs, fetches, &outputs));
  } else {
    for (int i = 0; i < options.iterations; ++i) TF_RETURN_IF_ERROR(bundle.session->Run(inputs, fetches, {}, &outputs));
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    std::cout << names[i] << " " << outputs[i].DebugString(4) << std::endl;
    if (!options.outputs.empty()) TF_RETURN_IF_ERROR(tests::WriteTensor(options.outputs + "/" + names[i] + ".pb", outputs[i]));
  }
  std::cout << tests::PluginRequest("{\"command\": \"stats\"}") << std::endl;
  return bundle.session->Close();
}

}  // namespace

int main(int argc, char* argv[]) {
  Options options;
  const std::vector<tensorflow::Flag> flags = {
      tensorflow::Flag("model_path", &options.model_path, "folder of the SavedModel"),
      tensorflow::Flag("signature_key", &options.signature_key, "signature to run"),
      tensorflow::Flag("plugin", &options.plugin, "libtftrt.so; empty where it is linked or preloaded"),
      tensorflow::Flag("inputs", &options.inputs, "folder with a TensorProto for each input; empty: inputs are made up"),
      tensorflow::Flag("outputs", &options.outputs, "folder for a TensorProto of each output"),
      tensorflow::Flag("batch_size", &options.batch_size, "batch of inputs that are made up"),
      tensorflow::Flag("input_size", &options.input_size, "size of other open dimensions of such inputs"),
      tensorflow::Flag("iterations", &options.iterations, "how often the model is run"),
      tensorflow::Flag("on_device", &options.on_device, "put the inputs on the GPU (else: the CPU) before the runs"),
  };
  const std::string usage = tensorflow::Flags::Usage(argv[0], flags);
  if (!tensorflow::Flags::Parse(&argc, argv, flags) || options.model_path.empty()) {
    std::cerr << usage;
    return 2;
  }
  tensorflow::port::InitMain(argv[0], &argc, &argv);
  if (argc > 1) {
    std::cerr << "unknown argument " << argv[1] << "\n" << usage;
    return 2;
  }
  return tests::Report(Main(options));
}
