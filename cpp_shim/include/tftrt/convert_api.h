// Conversion from C++: what trt_convert_api.h was to TF-TRT. Header only, over the C functions of libtftrt.so (link with -ltftrt, and
// with the TensorFlow that it was built for).
//
//   tftrt::ConversionParams params;
//   params.use_dynamic_shape = true;
//   absl::StatusOr<tensorflow::GraphDef> converted = tftrt::ConvertGraph(frozen, params);
//
// Engines are built by the first calls of the converted graph. A SavedModel in a folder is frozen and converted by ConvertSavedModel,
// or by the program tftrt-convert.
#ifndef TFTRT_CONVERT_API_H_
#define TFTRT_CONVERT_API_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tensorflow/core/framework/graph.pb.h"
#include "tensorflow/core/protobuf/meta_graph.pb.h"
#include "tensorflow/core/protobuf/rewriter_config.pb.h"

extern "C" {
struct tftrt_answer {
  uint8_t* data;
  size_t length;
};
// The conversion of a serialized graph; see src/tf/convert_api.rs. Everything in the answer is freed by tftrt_free_answer.
int32_t tftrt_convert_graph(const uint8_t* graph, size_t graph_length, const uint8_t* optimizer, size_t optimizer_length,
                            const char* fetches, const char* keep, tftrt_answer* answer);
void tftrt_free_answer(tftrt_answer answer);
// A request in JSON, answered in JSON; the answer is freed by tftrt_free.
char* tftrt_request(const char* request);
void tftrt_free(char* answer);
}

namespace tftrt {

// The parameters of a conversion, by the names and with the defaults of the Python converter.
struct ConversionParams {
  std::string precision_mode = "FP32";  // or FP16; INT8, which is calibrated by the Python converter, for what is quantised explicitly
  int64_t minimum_segment_size = 3;     // the fewest ops worth an engine
  int64_t max_workspace_size_bytes = int64_t{1} << 30;
  int64_t maximum_cached_engines = 1;  // for each TRTEngineOp
  bool use_dynamic_shape = false;      // any dimension may vary; else the batch alone
  std::string profile_strategy = "Range";
  bool allow_build_at_runtime = true;
  // The signature of the MetaGraphDef whose inputs and outputs stay. Where it has none of that name, its collection "train_op" names
  // the tensors, as it does for Grappler.
  std::string signature_key = "serving_default";
};

namespace internal {

inline void AddNames(const tensorflow::MetaGraphDef& graph, const std::string& key, std::string* names) {
  const auto found = graph.signature_def().find(key);
  if (found != graph.signature_def().end()) {
    for (const auto& [name, info] : found->second.inputs()) *names += info.name() + "\n";
    for (const auto& [name, info] : found->second.outputs()) *names += info.name() + "\n";
    return;
  }
  const auto collection = graph.collection_def().find("train_op");
  if (collection == graph.collection_def().end()) return;
  for (const std::string& name : collection->second.node_list().value()) *names += name + "\n";
}

// A string of JSON.
inline std::string Quoted(const std::string& text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += std::string("\\u00") + kHex[byte >> 4] + kHex[byte & 15];
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace internal

// The converted graph of a frozen one, which holds no variables. The nodes of `keep` stay, and all that the signature's inputs and
// outputs need. Errors are InvalidArgument for a graph or parameters that cannot be, else what TensorFlow's passes say.
inline absl::StatusOr<tensorflow::GraphDef> ConvertGraph(const tensorflow::MetaGraphDef& frozen, const ConversionParams& params = {},
                                                         const std::vector<std::string>& keep = {}) {
  std::string names;
  internal::AddNames(frozen, params.signature_key, &names);
  if (names.empty()) {
    return absl::InvalidArgumentError("the MetaGraphDef has neither a signature '" + params.signature_key +
                                      "' nor a collection train_op: what has to stay is not known");
  }
  tensorflow::RewriterConfig_CustomGraphOptimizer optimizer;
  auto& map = *optimizer.mutable_parameter_map();
  map["minimum_segment_size"].set_i(params.minimum_segment_size);
  map["max_workspace_size_bytes"].set_i(params.max_workspace_size_bytes);
  map["precision_mode"].set_s(params.precision_mode);
  map["maximum_cached_engines"].set_i(params.maximum_cached_engines);
  map["use_calibration"].set_b(false);
  map["is_dynamic_op"].set_b(true);
  map["allow_build_at_runtime"].set_b(params.allow_build_at_runtime);
  map["use_implicit_batch"].set_b(!params.use_dynamic_shape);
  if (params.use_dynamic_shape) map["profile_strategy"].set_s(params.profile_strategy);
  std::string graph, options, kept;
  if (!frozen.graph_def().SerializeToString(&graph) || !optimizer.SerializeToString(&options)) {
    return absl::InvalidArgumentError("the graph cannot be serialized: protobuf's limit is 2 GB");
  }
  for (const std::string& name : keep) kept += name + "\n";
  tftrt_answer answer{nullptr, 0};
  const int32_t code =
      tftrt_convert_graph(reinterpret_cast<const uint8_t*>(graph.data()), graph.size(), reinterpret_cast<const uint8_t*>(options.data()),
                          options.size(), names.c_str(), kept.c_str(), &answer);
  tensorflow::GraphDef converted;
  absl::Status status;
  if (code != 0) {
    status = absl::Status(static_cast<absl::StatusCode>(code), std::string(reinterpret_cast<const char*>(answer.data), answer.length));
  } else if (!converted.ParseFromArray(answer.data, static_cast<int>(answer.length))) {
    status = absl::InternalError("the converted graph cannot be read");
  }
  tftrt_free_answer(answer);
  if (!status.ok()) return status;
  return converted;
}

// Freezes and converts the SavedModel in folder `input`, and writes it to `output`, a folder that is new or empty, with the one
// signature of `params`: for a server that converts before it loads.
inline absl::Status ConvertSavedModel(const std::string& input, const std::string& output, const ConversionParams& params = {}) {
  std::string request = "{\"command\": \"convert_saved_model\", \"input\": " + internal::Quoted(input) +
                        ", \"output\": " + internal::Quoted(output) + ", \"signature\": " + internal::Quoted(params.signature_key) +
                        ", \"precision\": " + internal::Quoted(params.precision_mode) +
                        ", \"minimum_segment_size\": " + std::to_string(params.minimum_segment_size) +
                        ", \"max_workspace_size\": " + std::to_string(params.max_workspace_size_bytes) +
                        ", \"max_cached_engines\": " + std::to_string(params.maximum_cached_engines);
  if (params.use_dynamic_shape) {
    request += ", \"dynamic\": true, \"profile_strategy\": " + internal::Quoted(params.profile_strategy);
  }
  char* answer = tftrt_request((request + "}").c_str());
  const std::string text(answer);
  tftrt_free(answer);
  if (text.rfind("{\"error\"", 0) == 0) return absl::InvalidArgumentError(text);
  return absl::OkStatus();
}

}  // namespace tftrt

#endif  // TFTRT_CONVERT_API_H_
