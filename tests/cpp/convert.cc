// Conversion from C++ (tftrt/convert_api.h), linked with the plugin.
//
//   convert graph FROZEN.pb CONVERTED.pb [dynamic]   a MetaGraphDef, frozen, to a GraphDef
//   convert model IN OUT [dynamic]                   a SavedModel
#include <iostream>
#include <string>

#include "common.h"
#include "tftrt/convert_api.h"

namespace {

absl::Status Main(const std::string& what, const std::string& in, const std::string& out, bool dynamic) {
  tftrt::ConversionParams params;
  params.use_dynamic_shape = dynamic;
  if (what == "model") return tftrt::ConvertSavedModel(in, out, params);
  tensorflow::MetaGraphDef frozen;
  TF_RETURN_IF_ERROR(tensorflow::ReadBinaryProto(tensorflow::Env::Default(), in, &frozen));
  absl::StatusOr<tensorflow::GraphDef> converted = tftrt::ConvertGraph(frozen, params);
  TF_RETURN_IF_ERROR(converted.status());
  return tensorflow::WriteBinaryProto(tensorflow::Env::Default(), out, *converted);
}

}  // namespace

int main(int argc, char* argv[]) {
  if (argc < 4) {
    std::cerr << "usage: convert graph|model IN OUT [dynamic]" << std::endl;
    return 2;
  }
  return tests::Report(Main(argv[1], argv[2], argv[3], argc > 4));
}
