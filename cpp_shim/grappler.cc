// Grappler without Python: a graph through the passes of a RewriterConfig, TensorRTOptimizer among them where it is named.
#include <string>
#include <unordered_map>
#include <vector>

#include "tensorflow/core/framework/device_factory.h"
#include "tensorflow/core/framework/function.h"
#include "tensorflow/core/framework/graph_def_util.h"
#include "tensorflow/core/grappler/clusters/utils.h"
#include "tensorflow/core/grappler/clusters/virtual_cluster.h"
#include "tensorflow/core/grappler/grappler_item.h"
#include "tensorflow/core/grappler/optimizers/meta_optimizer.h"
#include "tensorflow/core/protobuf/config.pb.h"
#include "tftrt/cpp_shim/internal.h"

namespace tftrt {
namespace {

// The machine's devices under the names that a session gives them. They are only listed: none is set up for a conversion.
absl::Status machine(std::unordered_map<std::string, tensorflow::DeviceProperties>* devices) {
  const std::string prefix = "/job:localhost/replica:0/task:0/device:";
  (*devices)[prefix + "CPU:0"] = tensorflow::grappler::GetLocalCPUInfo();
  std::vector<std::string> names;
  TF_RETURN_IF_ERROR(tensorflow::DeviceFactory::ListAllPhysicalDevices(&names));
  int gpus = 0;
  for (const std::string& name : names) {
    if (name.find("/physical_device:GPU:") == std::string::npos) continue;
    (*devices)[prefix + "GPU:" + std::to_string(gpus)] = tensorflow::grappler::GetLocalGPUInfo(tensorflow::PlatformDeviceId(gpus));
    ++gpus;
  }
  return absl::OkStatus();
}

}  // namespace

Blob optimize_graph(rust::Slice<const uint8_t> graph, rust::Slice<const uint8_t> rewriter, const rust::Vec<rust::String>& fetches,
                    const rust::Vec<rust::String>& keep) {
  Blob out{};
  out.outcome = to_outcome(guarded([&]() -> absl::Status {
    tensorflow::grappler::GrapplerItem item;
    item.id = "tf_graph";
    if (!item.graph.ParseFromArray(graph.data(), graph.size())) return absl::InvalidArgumentError("the graph cannot be parsed");
    // A SavedModel leaves out attributes that have their default.
    const tensorflow::FunctionLibraryDefinition library(tensorflow::OpRegistry::Global(), item.graph.library());
    TF_RETURN_IF_ERROR(tensorflow::AddDefaultAttrsToGraphDef(&item.graph, library, 0, /*skip_unknown_ops=*/true));
    for (const rust::String& name : fetches) item.fetch.emplace_back(std::string(name));
    for (const rust::String& name : keep) item.keep_ops.emplace_back(std::string(name));
    tensorflow::ConfigProto config;
    if (!config.mutable_graph_options()->mutable_rewrite_options()->ParseFromArray(rewriter.data(), rewriter.size())) {
      return absl::InvalidArgumentError("the list of passes cannot be parsed");
    }
    std::unordered_map<std::string, tensorflow::DeviceProperties> devices;
    TF_RETURN_IF_ERROR(machine(&devices));
    tensorflow::grappler::VirtualCluster cluster(devices);
    TF_RETURN_IF_ERROR(cluster.Provision());
    tensorflow::GraphDef optimized;
    TF_RETURN_IF_ERROR(
        tensorflow::grappler::RunMetaOptimizer(std::move(item), config, /*cpu_device=*/nullptr, &cluster, &optimized));
    return serialize(optimized, "the optimized graph", &out.bytes);
  }));
  return out;
}

}  // namespace tftrt
