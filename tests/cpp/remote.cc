// A converted SavedModel on one of TensorFlow's own file systems, ram://, in C++ sessions: copied there, loaded, called; its engines saved
// there again from the session; a second model of these, loaded and called.
//
//   remote --model_path=DIR --outputs=DIR --inputs=DIR [--plugin=libtftrt.so] [--scheme=ram]
//
// The outputs of the first model go to DIR/first, those of the second to DIR/second. The last line on stdout is the plugin's counters in JSON.
#include <iostream>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common.h"
#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/framework/node_def_builder.h"
#include "tensorflow/core/platform/init_main.h"
#include "tensorflow/core/platform/path.h"
#include "tensorflow/core/public/session.h"
#include "tensorflow/core/util/command_line_flags.h"

namespace {

using tensorflow::Env;
using tensorflow::GraphDef;
using tensorflow::Tensor;
using tensorflow::io::JoinPath;

struct Options {
  std::string model_path, plugin, inputs, outputs, scheme = "ram";
  int32_t iterations = 3;
};

absl::Status CopyFolder(const std::string& from, const std::string& to) {
  TF_RETURN_IF_ERROR(Env::Default()->RecursivelyCreateDir(to));
  std::vector<std::string> names;
  TF_RETURN_IF_ERROR(Env::Default()->GetChildren(from, &names));
  for (const std::string& name : names) {
    const std::string source = JoinPath(from, name), target = JoinPath(to, name);
    TF_RETURN_IF_ERROR(Env::Default()->IsDirectory(source).ok() ? CopyFolder(source, target)
                                                                : Env::Default()->CopyFile(source, target));
  }
  return absl::OkStatus();
}

absl::Status Load(const std::string& folder, tensorflow::SavedModelBundle* bundle) {
  tensorflow::SessionOptions options;
  options.config.set_allow_soft_placement(true);
  // Saving adds nodes to the session's graph.
  options.config.mutable_experimental()->set_disable_optimize_for_static_graph(true);
  return LoadSavedModel(options, tensorflow::RunOptions(), folder, {"serve"}, bundle);
}

// Calls the model's signature, and writes what it gives.
absl::Status Call(const Options& options, const tensorflow::SavedModelBundle& bundle, const std::string& name) {
  const auto& signature = bundle.GetSignatures().at("serving_default");
  std::vector<std::pair<std::string, Tensor>> inputs;
  for (const auto& [key, info] : signature.inputs()) {
    inputs.emplace_back(info.name(), Tensor());
    TF_RETURN_IF_ERROR(tests::ReadTensor(JoinPath(options.inputs, key + ".pb"), &inputs.back().second));
  }
  std::vector<std::string> keys, fetches;
  for (const auto& [key, info] : signature.outputs()) {
    keys.push_back(key);
    fetches.push_back(info.name());
  }
  std::vector<Tensor> outputs;
  for (int i = 0; i < options.iterations; ++i) TF_RETURN_IF_ERROR(bundle.session->Run(inputs, fetches, {}, &outputs));
  const std::string folder = JoinPath(options.outputs, name);
  TF_RETURN_IF_ERROR(Env::Default()->RecursivelyCreateDir(folder));
  for (size_t i = 0; i < outputs.size(); ++i) {
    TF_RETURN_IF_ERROR(tests::WriteTensor(JoinPath(folder, keys[i] + ".pb"), outputs[i]));
  }
  return absl::OkStatus();
}

// The engines that a model names; several of its functions may name the same.
std::set<std::string> Engines(const GraphDef& graph) {
  std::set<std::string> names;
  const auto look = [&names](const tensorflow::NodeDef& node) {
    if (node.op() == "CreateTRTResourceHandle") names.insert(node.attr().at("resource_name").s());
  };
  for (const auto& node : graph.node()) look(node);
  for (const auto& function : graph.library().function()) {
    for (const auto& node : function.node_def()) look(node);
  }
  return names;
}

tensorflow::NodeDef Text(const std::string& name, const std::string& value) {
  tensorflow::NodeDef node;
  node.set_name(name);
  node.set_op("Const");
  (*node.mutable_attr())["dtype"].set_type(tensorflow::DT_STRING);
  Tensor tensor(tensorflow::DT_STRING, {});
  tensor.scalar<tensorflow::tstring>()() = value;
  tensor.AsProtoField((*node.mutable_attr())["value"].mutable_tensor());
  return node;
}

// Has the session write the engines that it has, by the op that the converter's save() runs.
absl::Status Save(tensorflow::Session* session, const std::set<std::string>& engines, const std::string& folder) {
  GraphDef more;
  std::vector<std::string> targets;
  for (const std::string& engine : engines) {
    const std::string name = "tests_save_" + engine;
    *more.add_node() = Text(name + "_engine", engine);
    *more.add_node() = Text(name + "_file", JoinPath(folder, "assets", "trt-serialized-engine." + engine));
    tensorflow::NodeDef* node = more.add_node();
    node->set_name(name);
    node->set_op("SerializeTRTResource");
    node->add_input(name + "_engine");
    node->add_input(name + "_file");
    targets.push_back(name);
  }
  TF_RETURN_IF_ERROR(session->Extend(more));
  return session->Run({}, {}, targets, nullptr);
}

absl::Status Main(const Options& options) {
  TF_RETURN_IF_ERROR(tests::LoadPlugin(options.plugin));
  const std::string first = options.scheme + "://tests/first", second = options.scheme + "://tests/second";
  TF_RETURN_IF_ERROR(CopyFolder(options.model_path, first));
  tensorflow::SavedModelBundle one;
  TF_RETURN_IF_ERROR(Load(first, &one));
  TF_RETURN_IF_ERROR(Call(options, one, "first"));

  const std::set<std::string> engines = Engines(one.meta_graph_def.graph_def());
  TF_RETURN_IF_ERROR(CopyFolder(options.model_path, second));
  for (const std::string& engine : engines) {
    // What the second model has is what the session writes, and nothing else.
    const std::string file = JoinPath(second, "assets", "trt-serialized-engine." + engine);
    TF_RETURN_IF_ERROR(tensorflow::WriteStringToFile(Env::Default(), file, "no engine"));
  }
  TF_RETURN_IF_ERROR(Save(one.session.get(), engines, second));
  TF_RETURN_IF_ERROR(one.session->Close());
  one.session.reset();
  tensorflow::SavedModelBundle two;
  TF_RETURN_IF_ERROR(Load(second, &two));
  TF_RETURN_IF_ERROR(Call(options, two, "second"));
  std::vector<std::string> left;
  TF_RETURN_IF_ERROR(Env::Default()->GetChildren(JoinPath(second, "assets"), &left));
  for (const std::string& name : left) std::cout << "asset " << name << std::endl;
  std::cout << tests::PluginRequest("{\"command\": \"stats\"}") << std::endl;
  return two.session->Close();
}

}  // namespace

int main(int argc, char* argv[]) {
  Options options;
  const std::vector<tensorflow::Flag> flags = {
      tensorflow::Flag("model_path", &options.model_path, "folder of the SavedModel"),
      tensorflow::Flag("plugin", &options.plugin, "libtftrt.so; empty where it is linked or preloaded"),
      tensorflow::Flag("inputs", &options.inputs, "folder with a TensorProto for each input"),
      tensorflow::Flag("outputs", &options.outputs, "folder for a TensorProto of each output"),
      tensorflow::Flag("scheme", &options.scheme, "file system that the model is copied to"),
      tensorflow::Flag("iterations", &options.iterations, "how often each model is run"),
  };
  const std::string usage = tensorflow::Flags::Usage(argv[0], flags);
  if (!tensorflow::Flags::Parse(&argc, argv, flags) || options.model_path.empty() || options.inputs.empty() || options.outputs.empty()) {
    std::cerr << usage;
    return 2;
  }
  tensorflow::port::InitMain(argv[0], &argc, &argv);
  return tests::Report(Main(options));
}
