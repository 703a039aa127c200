// What TensorFlow Serving does with a model, without its binary: versions are loaded and unloaded while requests run in threads, requests
// of mixed sizes are put together by TensorFlow's own BatchFunction, and models whose engines have the same names are there at once.
//
//   serving_harness --models=DIR,DIR,... --reloads=200 --threads=4 [--plugin=libtftrt.so] [--curve=FILE.csv]
//
// Every model has the signature serving_default from "x", [n, 8], to "y", and a file expected.pb in its folder beside inputs.pb: row i of
// the outputs belongs to row i of the inputs. Requests are some rows of these, and each answer is compared with its rows. The models are
// slots: in each round the next one gets a new version, the old version being unloaded when the new one is there, while requests go on.
// What a reload leaves is counted when its old version is gone: one that stays for a minute ends the program. At the end all are unloaded.
// The last line on stdout is a report in JSON; --curve gets a line for each reload.
#include <dirent.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <fstream>
#include <iostream>
#include <memory>
#include <mutex>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "common.h"
#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/common_runtime/device_mgr.h"
#include "tensorflow/core/platform/init_main.h"
#include "tensorflow/core/public/session.h"
#include "tensorflow/core/util/command_line_flags.h"

namespace {

using tensorflow::Tensor;
using Bundle = tensorflow::SavedModelBundle;

// A model under its name, and its version that serves. As in Serving, a version lives until its last request is done.
struct Slot {
  std::string folder, feed, fetch;
  Tensor inputs, expected;
  std::mutex mutex;
  std::shared_ptr<Bundle> serving;

  std::shared_ptr<Bundle> version() {
    std::lock_guard<std::mutex> lock(mutex);
    return serving;
  }
};

// Versions that are there, those included that are being unloaded.
std::atomic<int64_t> alive{0};

std::shared_ptr<Bundle> NewVersion() {
  ++alive;
  return std::shared_ptr<Bundle>(new Bundle, [](Bundle* version) {
    delete version;
    --alive;
  });
}

absl::Status AwaitUnloading(int64_t serving) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (alive > serving) {
    if (std::chrono::steady_clock::now() > deadline) {
      return absl::DeadlineExceededError(std::to_string(alive) + " versions are there a minute after a reload, where " +
                                         std::to_string(serving) + " serve");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return absl::OkStatus();
}

struct Tally {
  std::atomic<int64_t> requests{0}, wrong{0}, failed{0};
  std::mutex mutex;
  std::string first_error;

  void Fail(const std::string& why) {
    ++failed;
    std::lock_guard<std::mutex> lock(mutex);
    if (first_error.empty()) first_error = why;
  }
};

absl::Status Load(Slot* slot, std::shared_ptr<Bundle>* loaded) {
  tensorflow::SessionOptions options;
  options.config.set_allow_soft_placement(true);
  options.config.mutable_gpu_options()->set_allow_growth(true);
  const std::shared_ptr<Bundle> bundle = NewVersion();
  TF_RETURN_IF_ERROR(LoadSavedModel(options, tensorflow::RunOptions(), slot->folder, {"serve"}, bundle.get()));
  const auto& signature = bundle->GetSignatures().at("serving_default");
  slot->feed = signature.inputs().at("x").name();
  slot->fetch = signature.outputs().at("y").name();
  *loaded = bundle;
  return absl::OkStatus();
}

// Rows [begin, begin + count) of a matrix.
Tensor Rows(const Tensor& all, int64_t begin, int64_t count) {
  Tensor part(all.dtype(), {count, all.dim_size(1)});
  const float* from = all.flat<float>().data() + begin * all.dim_size(1);
  std::copy(from, from + count * all.dim_size(1), part.flat<float>().data());
  return part;
}

bool Equal(const Tensor& found, const Tensor& expected, float tolerance) {
  if (found.shape() != expected.shape() || found.dtype() != expected.dtype()) return false;
  for (int64_t i = 0; i < expected.NumElements(); ++i) {
    if (!(std::abs(found.flat<float>()(i) - expected.flat<float>()(i)) <= tolerance)) return false;
  }
  return true;
}

void Request(Slot* slot, std::mt19937* random, float tolerance, Tally* tally) {
  const int64_t rows = slot->inputs.dim_size(0);
  const int64_t count = 1 + (*random)() % 4;
  const int64_t begin = (*random)() % (rows - count + 1);
  const std::shared_ptr<Bundle> version = slot->version();
  std::vector<Tensor> outputs;
  const absl::Status status =
      version->session->Run({{slot->feed, Rows(slot->inputs, begin, count)}}, {slot->fetch}, {}, &outputs);
  ++tally->requests;
  if (!status.ok()) {
    tally->Fail(status.ToString());
  } else if (!Equal(outputs[0], Rows(slot->expected, begin, count), tolerance)) {
    ++tally->wrong;
  }
}

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t size = 0, resident = 0;
  file >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

int64_t Threads() {
  int64_t count = 0;
  DIR* tasks = opendir("/proc/self/task");
  while (const dirent* entry = readdir(tasks)) count += entry->d_name[0] != '.';
  closedir(tasks);
  return count;
}

// Of TensorFlow's allocator on the first GPU; 0 without one.
int64_t DeviceBytes(Bundle* bundle) {
  const tensorflow::DeviceMgr* devices = nullptr;
  tensorflow::Device* gpu = nullptr;
  if (!bundle->session->LocalDeviceManager(&devices).ok() || !devices->LookupDevice("GPU:0", &gpu).ok()) return 0;
  const auto stats = gpu->GetAllocator(tensorflow::AllocatorAttributes())->GetStats();
  return stats ? stats->bytes_in_use : 0;
}

struct Options {
  std::string models, plugin, curve;
  int32_t reloads = 200, threads = 4;
  float tolerance = 1e-4;
};

absl::Status Main(const Options& options, std::string* report) {
  TF_RETURN_IF_ERROR(tests::LoadPlugin(options.plugin));
  std::vector<std::unique_ptr<Slot>> slots;
  std::stringstream folders(options.models);
  for (std::string folder; std::getline(folders, folder, ',');) {
    slots.push_back(std::make_unique<Slot>());
    Slot* slot = slots.back().get();
    slot->folder = folder;
    TF_RETURN_IF_ERROR(tests::ReadTensor(folder + "/inputs.pb", &slot->inputs));
    TF_RETURN_IF_ERROR(tests::ReadTensor(folder + "/expected.pb", &slot->expected));
    TF_RETURN_IF_ERROR(Load(slot, &slot->serving));
  }
  if (slots.empty()) return absl::InvalidArgumentError("--models names no folder");

  Tally tally;
  std::atomic<bool> stop{false};
  std::vector<std::thread> clients;
  for (int t = 0; t < options.threads; ++t) {
    clients.emplace_back([&, t] {
      std::mt19937 random(t);
      while (!stop) Request(slots[random() % slots.size()].get(), &random, options.tolerance, &tally);
    });
  }
  std::ofstream curve;
  if (!options.curve.empty()) curve.open(options.curve);
  curve << "reload,resident_bytes,device_bytes,threads,requests\n";
  absl::Status status;
  for (int i = 0; i < options.reloads && status.ok(); ++i) {
    Slot* slot = slots[i % slots.size()].get();
    std::shared_ptr<Bundle> next;
    status = Load(slot, &next);
    if (!status.ok()) break;
    {
      std::lock_guard<std::mutex> lock(slot->mutex);
      std::swap(slot->serving, next);
    }
    // The old version goes here, or with the last request that it has.
    next.reset();
    status = AwaitUnloading(slots.size());
    // So that each version has served before it goes.
    const int64_t seen = tally.requests;
    while (tally.requests < seen + 2 * options.threads && tally.failed == 0) std::this_thread::yield();
    curve << i << "," << ResidentBytes() << "," << DeviceBytes(slot->version().get()) << "," << Threads() << "," << tally.requests << "\n";
  }
  stop = true;
  for (std::thread& client : clients) client.join();
  const std::string stats = tests::PluginRequest("{\"command\": \"stats\"}");
  const int64_t threads_serving = Threads();
  for (const auto& slot : slots) slot->serving.reset();
  const std::string after = tests::PluginRequest("{\"command\": \"stats\"}");
  std::ostringstream out;
  out << "{\"requests\": " << tally.requests << ", \"wrong\": " << tally.wrong << ", \"failed\": " << tally.failed
      << ", \"threads_serving\": " << threads_serving << ", \"threads_after\": " << Threads() << ", \"stats\": " << stats
      << ", \"stats_after\": " << after << "}";
  *report = out.str();
  if (!tally.first_error.empty()) std::cerr << "first failed request: " << tally.first_error << std::endl;
  return status;
}

}  // namespace

int main(int argc, char* argv[]) {
  Options options;
  const std::vector<tensorflow::Flag> flags = {
      tensorflow::Flag("models", &options.models, "folders of SavedModels, with commas between"),
      tensorflow::Flag("plugin", &options.plugin, "libtftrt.so; empty where it is linked or preloaded"),
      tensorflow::Flag("curve", &options.curve, "a CSV file for memory and threads after each reload"),
      tensorflow::Flag("reloads", &options.reloads, "how many versions are loaded after the first ones"),
      tensorflow::Flag("threads", &options.threads, "how many send requests"),
      tensorflow::Flag("tolerance", &options.tolerance, "by how much an output may differ"),
  };
  const std::string usage = tensorflow::Flags::Usage(argv[0], flags);
  if (!tensorflow::Flags::Parse(&argc, argv, flags)) {
    std::cerr << usage;
    return 2;
  }
  tensorflow::port::InitMain(argv[0], &argc, &argv);
  std::string report;
  const int code = tests::Report(Main(options, &report));
  std::cout << report << std::endl;
  return code;
}
