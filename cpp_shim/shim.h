// What the Rust side sees of TensorFlow. The shim decides nothing and keeps no state of its own: it registers,
// converts types, and forwards.
#ifndef TFTRT_SHIM_H_
#define TFTRT_SHIM_H_

#include <cstdint>
#include <memory>

#include "rust/cxx.h"

namespace tensorflow {
class OpKernelContext;
}  // namespace tensorflow

namespace tftrt {

struct Outcome;
struct Blob;
struct Number;
struct Instantiated;
struct GpuHandle;
struct Inferred;
struct ResourceState;
struct LargeContents;
struct Contents;
struct CollectedPoint;
class ResourceRef;

// One invocation of TRTEngineOp: its context and the callback that ends it.
class Call {
 public:
  struct Parts;
  explicit Call(std::unique_ptr<Parts> parts);
  ~Call();

  size_t input_count() const;
  size_t output_count() const;
  int32_t input_dtype(size_t i) const;
  size_t input_rank(size_t i) const;
  int64_t input_dim(size_t i, size_t dim) const;
  size_t input_address(size_t i) const;
  size_t input_bytes(size_t i) const;
  size_t library_id() const;
  rust::String device_name() const;
  int32_t output_dtype(size_t i) const;
  GpuHandle gpu() const;
  Number allocate_output(size_t i, rust::Slice<const int64_t> dims) const;
  Number allocate_scratch(size_t bytes) const;
  Outcome copy_input_to_host(size_t i, rust::Slice<uint8_t> to) const;
  void commit_outputs() const;
  std::unique_ptr<ResourceRef> resource(rust::Str name, int64_t capacity, Outcome& out) const;
  Instantiated instantiate(rust::Slice<const uint8_t> function, bool soft_placement) const;
  Blob function_body(rust::Slice<const uint8_t> function, size_t large, rust::Str mark, LargeContents& contents) const;
  void fail(int32_t code, rust::Str message) const;

  Parts& parts() const { return *parts_; }

 private:
  std::unique_ptr<Parts> parts_;
};

// Gives an instantiated function back to the library runtime whose id this is.
void release_function(size_t library, uint64_t handle);
void finish_call(std::unique_ptr<Call> call);
void run_native(std::unique_ptr<Call> call, uint64_t handle, bool ints_on_device, rust::Str why);

// A counted reference to the resource of one engine.
class ResourceRef {
 public:
  struct Parts;
  explicit ResourceRef(std::unique_ptr<Parts> parts);
  ~ResourceRef();
  const ResourceState& state() const;

 private:
  std::unique_ptr<Parts> parts_;
};

// A file of one of TensorFlow's file systems that is being read.
class RemoteFile {
 public:
  struct Parts;
  explicit RemoteFile(std::unique_ptr<Parts> parts);
  ~RemoteFile();
  Outcome read(uint64_t offset, rust::Slice<uint8_t> to, size_t& read) const;

 private:
  std::unique_ptr<Parts> parts_;
};

// One that is being written.
class RemoteWriter {
 public:
  struct Parts;
  explicit RemoteWriter(std::unique_ptr<Parts> parts);
  ~RemoteWriter();
  Outcome append(rust::Slice<const uint8_t> bytes) const;
  Outcome close() const;

 private:
  std::unique_ptr<Parts> parts_;
};

std::unique_ptr<RemoteFile> remote_open(rust::Str path, uint64_t& length, Outcome& out);
std::unique_ptr<RemoteWriter> remote_create(rust::Str path, Outcome& out);
Outcome remote_exists(rust::Str path);
Outcome remote_rename(rust::Str from, rust::Str to);
Outcome remote_delete(rust::Str path);

Inferred infer_shapes(rust::Slice<const uint8_t> graph);
/// As `infer_shapes`, of what follows from the inputs of each node alone, and not from what its takers ask for.
Inferred infer_forward(rust::Slice<const uint8_t> graph);
Blob graph_to_function(rust::Slice<const uint8_t> graph, rust::Slice<const uint8_t> library, rust::Str name);
Blob function_to_graph(rust::Slice<const uint8_t> function, rust::Slice<const uint8_t> library);
Blob optimize_graph(rust::Slice<const uint8_t> graph, rust::Slice<const uint8_t> rewriter, const rust::Vec<rust::String>& fetches,
                    const rust::Vec<rust::String>& keep);
bool op_is_stateful(rust::Str op);
bool op_is_known(rust::Str op);

rust::String register_op(rust::Str op_def);
rust::String register_kernels();
void record_build_seconds(double seconds);
rust::Vec<CollectedPoint> collected_metrics(rust::Str prefix);
Number device_allocate(size_t allocator, size_t bytes, size_t alignment);
void device_free(size_t allocator, uint64_t address);
bool tensor_float_32_enabled();
int64_t trace_begin(rust::Str name);
void trace_end(int64_t id);
void log_message(int32_t severity, rust::Str message);
int32_t vlog_level(rust::Str file);
void vlog_message(int32_t level, rust::Str file, uint32_t line, rust::Str message);

}  // namespace tftrt

#endif  // TFTRT_SHIM_H_
