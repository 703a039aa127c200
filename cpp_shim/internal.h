// What the shim's own files share.
#ifndef TFTRT_INTERNAL_H_
#define TFTRT_INTERNAL_H_

#include <exception>
#include <limits>
#include <string>
#include <utility>

#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tftrt/cpp_shim/shim.h"
#include "tftrt/src/tf/ffi.rs.h"

namespace tftrt {

// The container of the engine resources; its name is part of TF-TRT's contract.
inline constexpr char kContainer[] = "TF-TRT";

inline std::string to_string(rust::Str s) { return std::string(s.data(), s.size()); }
inline std::string to_string(const rust::String& s) { return std::string(s); }

// rust::String throws on bytes that are not UTF-8; TensorFlow's messages may hold a user's file name.
inline rust::String to_rust(const std::string& s) { return rust::String::lossy(s); }

inline Outcome to_outcome(const absl::Status& status) {
  Outcome out;
  out.code = static_cast<int32_t>(status.code());
  out.message = to_rust(std::string(status.message()));
  return out;
}

inline absl::Status to_status(const Outcome& outcome) {
  if (outcome.code == 0) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(outcome.code), std::string(outcome.message));
}

inline rust::Slice<const uint8_t> view(const std::string& s) {
  return rust::Slice<const uint8_t>(reinterpret_cast<const uint8_t*>(s.data()), s.size());
}

// Writes a message where Rust will read it. `what` begins the error of a message that protobuf has no room for.
template <typename Message>
absl::Status serialize(const Message& message, const std::string& what, rust::Vec<uint8_t>* out) {
  const size_t size = message.ByteSizeLong();
  if (size > static_cast<size_t>(std::numeric_limits<int>::max())) {
    return absl::InvalidArgumentError(what + " is larger than protobuf's limit of 2 GB");
  }
  *out = new_bytes(size);
  if (out->size() != size) {
    return absl::ResourceExhaustedError(what + " has " + std::to_string(size) + " bytes, for which there is no memory");
  }
  if (!message.SerializeToArray(out->data(), static_cast<int>(size))) {
    return absl::InternalError(what + " cannot be serialized");
  }
  return absl::OkStatus();
}

// Runs `f`, which gives an absl::Status, and turns an exception into one: none may cross the bridge.
template <typename F>
absl::Status guarded(F&& f) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("tftrt: there is no memory for it (std::bad_alloc)");
  } catch (const std::exception& e) {
    return absl::InternalError(std::string("tftrt: C++ exception: ") + e.what());
  } catch (...) {
    return absl::InternalError("tftrt: C++ exception of unknown type");
  }
}

// The GPU of a kernel as TensorFlow uses it; nothing on the CPU.
GpuHandle gpu_handle(tensorflow::OpKernelContext* context);

// The state of one engine, as TensorFlow's resource manager owns it.
class EngineResource : public tensorflow::ResourceBase {
 public:
  explicit EngineResource(rust::Box<ResourceState> state) : state_(std::move(state)) {}
  std::string DebugString() const override { return std::string(resource_describe(*state_)); }
  const ResourceState& state() const { return *state_; }

 private:
  rust::Box<ResourceState> state_;
};

// Keeps an engine's state while no EngineResource has it. Its name is the engine's, too: the manager tells types apart.
class EngineKeeper : public tensorflow::ResourceBase {
 public:
  EngineKeeper() : keeper_(keeper_new()) {}
  std::string DebugString() const override { return "an engine resource's keeper"; }
  const Keeper& keeper() const { return *keeper_; }

 private:
  rust::Box<Keeper> keeper_;
};

void register_engine_kernels();
void register_resource_kernels();
void register_optimizer();
void register_metrics();
void register_placement();

}  // namespace tftrt

#endif  // TFTRT_INTERNAL_H_
