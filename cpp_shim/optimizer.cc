// The Grappler pass "TensorRTOptimizer" (the name that the stock front end asks for): the work is in Rust
// (src/optimizer).
#include <memory>
#include <string>

#include "tensorflow/core/grappler/clusters/cluster.h"
#include "tensorflow/core/grappler/costs/graph_properties.h"
#include "tensorflow/core/grappler/grappler_item.h"
#include "tensorflow/core/grappler/optimizers/custom_graph_optimizer.h"
#include "tensorflow/core/grappler/optimizers/custom_graph_optimizer_registry.h"
#include "tensorflow/core/grappler/utils/functions.h"
#include "tftrt/cpp_shim/graph_shapes.h"
#include "tftrt/cpp_shim/internal.h"

namespace tftrt {
namespace {

constexpr char kName[] = "TensorRTOptimizer";

// The first GPU of the cluster; empty where there is none, which leaves the placing to TensorFlow.
std::string engine_device(tensorflow::grappler::Cluster* cluster) {
  if (cluster == nullptr) return "";
  std::string first;
  for (const std::string& device : cluster->GetDeviceNames()) {
    if (device.find("GPU:") != std::string::npos && (first.empty() || device < first)) first = device;
  }
  return first;
}

// The graph comes back without its large constants, which would be copied when it is written and when it is read.
void put_content_back(tensorflow::NodeDef* node, const std::string& mark, const Contents& contents) {
  const auto found = node->attr().find(mark);
  if (found == node->attr().end()) return;
  const rust::Slice<const uint8_t> content = content_at(contents, found->second.i());
  tensorflow::TensorProto* tensor = (*node->mutable_attr())["value"].mutable_tensor();
  tensor->set_tensor_content(reinterpret_cast<const char*>(content.data()), content.size());
  node->mutable_attr()->erase(mark);
}

class TensorRTOptimizer : public tensorflow::grappler::CustomGraphOptimizer {
 public:
  std::string name() const override { return kName; }
  bool UsesFunctionLibrary() const override { return true; }

  absl::Status Init(const tensorflow::RewriterConfig_CustomGraphOptimizer* config) override {
    const std::string bytes = config == nullptr ? std::string() : config->SerializeAsString();
    state_ = std::make_unique<rust::Box<OptimizerState>>(optimizer_new(view(bytes)));
    return to_status(optimizer_status(**state_));
  }

  absl::Status Optimize(tensorflow::grappler::Cluster* cluster, const tensorflow::grappler::GrapplerItem& item,
                        tensorflow::GraphDef* optimized) override {
    if (!state_) return absl::FailedPreconditionError("TensorRTOptimizer was not initialized");
    return guarded([&]() -> absl::Status {
      OptimizerItem in;
      in.id = to_rust(item.id);
      if (const auto* function = dynamic_cast<const tensorflow::grappler::GrapplerFunctionItem*>(&item)) {
        tensorflow::NameAttrList attrs;
        for (const auto& attr : function->func_attr()) (*attrs.mutable_attr())[attr.first] = attr.second;
        TF_RETURN_IF_ERROR(serialize(attrs, "TensorRTOptimizer: the list of attributes of '" + item.id + "'", &in.function_attrs));
      }
      // Before the graph is looked at: functions come by, too, native segments with all their weights among them.
      const rust::Slice<const uint8_t> attrs(in.function_attrs.data(), in.function_attrs.size());
      if (!optimizer_concerns(**state_, rust::Str(item.id), attrs)) return absl::AbortedError("no engine was put in");
      in.device = to_rust(engine_device(cluster));
      tensorflow::grappler::GraphProperties properties(item);
      // Without the values of constants, which would be copied: types and shapes are what is wanted.
      TF_RETURN_IF_ERROR(properties.InferStatically(/*assume_valid_feeds=*/true, /*aggressive_shape_inference=*/false,
                                                    /*include_tensor_values=*/false));
      in.nodes = shapes_of(item.graph, properties);
      for (const std::string& node : item.NodesToPreserve()) in.preserve.push_back(to_rust(node));
      TF_RETURN_IF_ERROR(serialize(item.graph, "TensorRTOptimizer: graph '" + item.id + "', which stays native,", &in.graph));
      Rewritten out = optimizer_run(**state_, std::move(in));
      TF_RETURN_IF_ERROR(to_status(out.outcome));
      // Grappler's word for "nothing to do": it goes on with the graph that it has, and copies none.
      if (!out.changed) return absl::AbortedError("no engine was put in");
      if (!optimized->ParseFromArray(out.graph.data(), out.graph.size())) {
        return absl::InternalError("TensorRTOptimizer: the rewritten graph cannot be parsed");
      }
      const std::string mark = to_string(out.mark);
      for (tensorflow::NodeDef& node : *optimized->mutable_node()) put_content_back(&node, mark, *out.contents);
      for (tensorflow::FunctionDef& function : *optimized->mutable_library()->mutable_function()) {
        for (tensorflow::NodeDef& node : *function.mutable_node_def()) put_content_back(&node, mark, *out.contents);
      }
      return absl::OkStatus();
    });
  }

 private:
  // A rust::Box is never empty, and Init comes after construction.
  std::unique_ptr<rust::Box<OptimizerState>> state_;
};

}  // namespace

void register_optimizer() {
  // Registering a name twice ends the process.
  if (tensorflow::grappler::CustomGraphOptimizerRegistry::CreateByNameOrNull(kName) != nullptr) return;
  tensorflow::grappler::CustomGraphOptimizerRegistry::RegisterOptimizerOrDie([] { return new TensorRTOptimizer; }, kName);
}

}  // namespace tftrt
