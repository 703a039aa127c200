// TensorFlow's own graph facilities: shape inference and the making of functions.
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tensorflow/core/common_runtime/function_body.h"
#include "tensorflow/core/common_runtime/function_def_utils.h"
#include "tensorflow/core/common_runtime/graph_constructor.h"
#include "tensorflow/core/common_runtime/shape_refiner.h"
#include "tensorflow/core/framework/function.h"
#include "tensorflow/core/framework/graph_to_functiondef.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/tensor_shape.h"
#include "tensorflow/core/graph/algorithm.h"
#include "tensorflow/core/graph/graph.h"
#include "tensorflow/core/grappler/costs/graph_properties.h"
#include "tensorflow/core/grappler/grappler_item.h"
#include "tftrt/cpp_shim/graph_shapes.h"
#include "tftrt/cpp_shim/internal.h"

namespace tftrt {

rust::Vec<NodeOutputs> shapes_of(const tensorflow::GraphDef& graph, const tensorflow::grappler::GraphProperties& properties) {
  rust::Vec<NodeOutputs> out;
  out.reserve(graph.node_size());
  for (const tensorflow::NodeDef& node : graph.node()) {
    if (!properties.HasOutputProperties(node.name())) continue;
    NodeOutputs entry;
    entry.name = to_rust(node.name());
    for (const auto& tensor : properties.GetOutputProperties(node.name())) {
      OutputInfo info{};
      info.dtype = tensor.dtype();
      info.unknown_rank = tensor.shape().unknown_rank();
      // Grappler numbers open dimensions -2, -3, ...: the same number, the same size. -1 is one that it knows nothing of.
      for (const auto& dim : tensor.shape().dim()) info.dims.push_back(dim.size());
      entry.outputs.push_back(std::move(info));
    }
    out.push_back(std::move(entry));
  }
  return out;
}

namespace {

/// Grappler ends the process on a graph with two nodes of one name.
absl::Status unique_names(const tensorflow::GraphDef& graph) {
  std::unordered_set<std::string_view> names;
  for (const tensorflow::NodeDef& node : graph.node()) {
    if (!names.insert(node.name()).second) {
      return absl::InvalidArgumentError(absl::StrCat("two nodes have the name '", node.name(), "'"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

Inferred infer_shapes(rust::Slice<const uint8_t> graph) {
  Inferred out{};
  out.outcome = to_outcome(guarded([&]() -> absl::Status {
    tensorflow::grappler::GrapplerItem item;
    if (!item.graph.ParseFromArray(graph.data(), graph.size())) return absl::InternalError("the GraphDef cannot be parsed");
    TF_RETURN_IF_ERROR(unique_names(item.graph));
    tensorflow::grappler::GraphProperties properties(item);
    TF_RETURN_IF_ERROR(properties.InferStatically(/*assume_valid_feeds=*/false, /*aggressive_shape_inference=*/false,
                                                  /*include_tensor_values=*/false));
    out.nodes = shapes_of(item.graph, properties);
    return absl::OkStatus();
  }));
  return out;
}

namespace {

/// The outputs of `node` as `refiner` knows them; of a node that it could not be given, none.
NodeOutputs forward_outputs(const tensorflow::Node& node, const tensorflow::ShapeRefiner& refiner) {
  NodeOutputs entry;
  entry.name = to_rust(node.name());
  tensorflow::shape_inference::InferenceContext* context = refiner.GetContext(&node);
  if (context == nullptr) return entry;
  for (int i = 0; i < node.num_outputs(); ++i) {
    OutputInfo info{};
    info.dtype = node.output_type(i);
    const tensorflow::shape_inference::ShapeHandle shape = context->output(i);
    info.unknown_rank = !context->RankKnown(shape);
    for (int axis = 0; !info.unknown_rank && axis < context->Rank(shape); ++axis) {
      info.dims.push_back(context->Value(context->Dim(shape, axis)));
    }
    entry.outputs.push_back(std::move(info));
  }
  return entry;
}

}  // namespace

Inferred infer_forward(rust::Slice<const uint8_t> graph) {
  Inferred out{};
  out.outcome = to_outcome(guarded([&]() -> absl::Status {
    tensorflow::GraphDef def;
    if (!def.ParseFromArray(graph.data(), graph.size())) return absl::InternalError("the GraphDef cannot be parsed");
    tensorflow::ShapeRefiner refiner(def.versions(), tensorflow::OpRegistry::Global());
    refiner.set_require_shape_inference_fns(false);
    tensorflow::Graph built(tensorflow::OpRegistry::Global());
    tensorflow::GraphConstructorOptions options;
    options.allow_internal_ops = true;
    options.expect_device_spec = false;
    TF_RETURN_IF_ERROR(tensorflow::ConvertGraphDefToGraph(options, std::move(def), &built));
    std::vector<tensorflow::Node*> order;
    tensorflow::GetReversePostOrder(built, &order);
    for (const tensorflow::Node* node : order) {
      // What cannot be inferred stays unknown.
      if (!node->IsOp() || !refiner.AddNode(node).ok()) continue;
      std::vector<tensorflow::PartialTensorShape> given;
      if (node->IsArg() && tensorflow::GetNodeAttr(node->attrs(), "_output_shapes", &given).ok() && given.size() == 1) {
        tensorflow::shape_inference::ShapeHandle shape;
        TF_RETURN_IF_ERROR(refiner.GetContext(node)->MakeShapeFromPartialTensorShape(given[0], &shape));
        TF_RETURN_IF_ERROR(refiner.SetShape(node, 0, shape));
      }
      out.nodes.push_back(forward_outputs(*node, refiner));
    }
    return absl::OkStatus();
  }));
  return out;
}

Blob graph_to_function(rust::Slice<const uint8_t> graph, rust::Slice<const uint8_t> library, rust::Str name) {
  Blob out{};
  out.outcome = to_outcome(guarded([&]() -> absl::Status {
    tensorflow::GraphDef def;
    if (!def.ParseFromArray(graph.data(), graph.size())) return absl::InternalError("the GraphDef cannot be parsed");
    tensorflow::FunctionDefLibrary functions;
    if (!functions.ParseFromArray(library.data(), library.size())) return absl::InternalError("the library cannot be parsed");
    tensorflow::Graph built(tensorflow::FunctionLibraryDefinition(tensorflow::OpRegistry::Global(), functions));
    tensorflow::GraphConstructorOptions options;
    options.allow_internal_ops = true;
    options.expect_device_spec = false;
    TF_RETURN_IF_ERROR(tensorflow::ConvertGraphDefToGraph(options, std::move(def), &built));
    tensorflow::FunctionDef function;
    TF_RETURN_IF_ERROR(tensorflow::GraphToFunctionDef(built, to_string(name), &function));
    return serialize(function, "the function", &out.bytes);
  }));
  return out;
}

Blob function_to_graph(rust::Slice<const uint8_t> function, rust::Slice<const uint8_t> library) {
  Blob out{};
  out.outcome = to_outcome(guarded([&]() -> absl::Status {
    tensorflow::FunctionDef def;
    if (!def.ParseFromArray(function.data(), function.size())) return absl::InternalError("the function cannot be parsed");
    tensorflow::FunctionDefLibrary functions;
    if (!functions.ParseFromArray(library.data(), library.size())) return absl::InternalError("the library cannot be parsed");
    const tensorflow::FunctionLibraryDefinition definitions(tensorflow::OpRegistry::Global(), functions);
    std::unique_ptr<tensorflow::FunctionBody> body;
    TF_RETURN_IF_ERROR(tensorflow::FunctionDefToBodyHelper(def, tensorflow::AttrSlice(), &definitions, &body));
    tensorflow::GraphDef graph;
    body->graph->ToGraphDef(&graph);
    return serialize(graph, "the body", &out.bytes);
  }));
  return out;
}

bool op_is_stateful(rust::Str op) {
  const tensorflow::OpDef* def = nullptr;
  return tensorflow::OpRegistry::Global()->LookUpOpDef(to_string(op), &def).ok() && def->is_stateful();
}

bool op_is_known(rust::Str op) {
  const tensorflow::OpDef* def = nullptr;
  return tensorflow::OpRegistry::Global()->LookUpOpDef(to_string(op), &def).ok();
}

}  // namespace tftrt
