// What the C++ programs of the tests share: the plugin, its counters, tensors in files.
#ifndef TFTRT_TESTS_CPP_COMMON_H_
#define TFTRT_TESTS_CPP_COMMON_H_

#include <dlfcn.h>

#include <iostream>
#include <string>

#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/tensor.pb.h"
#include "tensorflow/core/platform/env.h"

namespace tests {

// Loads the plugin from `path`; with an empty one it has to be in the process by now, linked or preloaded. The library
// registers itself where it is loaded, or says on stderr why it does not.
inline absl::Status LoadPlugin(const std::string& path) {
  if (!path.empty()) {
    void* handle = nullptr;
    TF_RETURN_IF_ERROR(tensorflow::Env::Default()->LoadDynamicLibrary(path.c_str(), &handle));
    // So that PluginRequest finds it as it does a linked one.
    dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL);
  }
  const tensorflow::OpRegistrationData* registered = nullptr;
  if (!tensorflow::OpRegistry::Global()->LookUp("TRTEngineOp", &registered).ok()) {
    return absl::FailedPreconditionError("no op TRTEngineOp is registered: give --plugin, link with -ltftrt or preload libtftrt.so");
  }
  return absl::OkStatus();
}

// The plugin's answer to a request in JSON, "{\"command\": \"stats\"}".
inline std::string PluginRequest(const std::string& request) {
  auto ask = reinterpret_cast<char* (*)(const char*)>(dlsym(RTLD_DEFAULT, "tftrt_request"));
  auto release = reinterpret_cast<void (*)(char*)>(dlsym(RTLD_DEFAULT, "tftrt_free"));
  if (ask == nullptr || release == nullptr) return "{\"error\": \"tftrt_request is not in this process\"}";
  char* answer = ask(request.c_str());
  std::string text(answer);
  release(answer);
  return text;
}

// Reads a tensor that Python wrote: tf.make_tensor_proto(x).SerializeToString().
inline absl::Status ReadTensor(const std::string& file, tensorflow::Tensor* tensor) {
  tensorflow::TensorProto proto;
  TF_RETURN_IF_ERROR(tensorflow::ReadBinaryProto(tensorflow::Env::Default(), file, &proto));
  if (!tensor->FromProto(proto)) return absl::DataLossError(file + " holds no valid tensor");
  return absl::OkStatus();
}

inline absl::Status WriteTensor(const std::string& file, const tensorflow::Tensor& tensor) {
  tensorflow::TensorProto proto;
  tensor.AsProtoTensorContent(&proto);
  return tensorflow::WriteBinaryProto(tensorflow::Env::Default(), file, proto);
}

// Says what failed, and gives main's exit code.
inline int Report(const absl::Status& status) {
  if (status.ok()) return 0;
  std::cerr << "error: " << status.ToString() << std::endl;
  return 1;
}

}  // namespace tests

#endif  // TFTRT_TESTS_CPP_COMMON_H_
