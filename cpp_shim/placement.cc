// Before TensorFlow places a graph: the ops of engines may ask for a GPU where there is none.
#include <memory>
#include <string>

#include "tensorflow/core/common_runtime/device.h"
#include "tensorflow/core/common_runtime/device_set.h"
#include "tensorflow/core/common_runtime/optimization_registry.h"
#include "tensorflow/core/graph/graph.h"
#include "tftrt/cpp_shim/internal.h"

namespace tftrt {
namespace {

// After the passes that put the bodies of functions into the graph.
constexpr int kPhase = 1000;

class FreePlacement : public tensorflow::GraphOptimizationPass {
 public:
  absl::Status Run(const tensorflow::GraphOptimizationPassOptions& options) override {
    if (options.graph == nullptr || *options.graph == nullptr || options.device_set == nullptr) return absl::OkStatus();
    return guarded([&]() -> absl::Status {
      bool gpu = false;
      for (const tensorflow::Device* device : options.device_set->devices()) {
        gpu = gpu || device->device_type() == tensorflow::DEVICE_GPU;
      }
      for (tensorflow::Node* node : (*options.graph)->op_nodes()) {
        if (node->requested_device().empty()) continue;
        std::string giver;
        const tensorflow::Node* input = nullptr;
        if (node->num_inputs() > 0 && node->input_node(0, &input).ok()) giver = input->type_string();
        if (placement_is_free(to_rust(node->type_string()), to_rust(giver), to_rust(node->requested_device()), gpu)) {
          node->set_requested_device(std::string(without_gpu(to_rust(node->requested_device()))));
        }
      }
      return absl::OkStatus();
    });
  }
};

}  // namespace

void register_placement() {
  auto pass = std::make_unique<FreePlacement>();
  pass->set_name("TftrtFreePlacement");
  tensorflow::OptimizationPassRegistry::Global()->Register(tensorflow::OptimizationPassRegistry::PRE_PLACEMENT, kPhase,
                                                           std::move(pass));
}

}  // namespace tftrt
