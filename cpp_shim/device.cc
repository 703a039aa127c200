// The GPU behind a kernel, its memory, and TensorFlow's profiler.
#include "tensorflow/core/framework/allocator.h"
#include "tensorflow/core/framework/device_base.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/platform/tensor_float_32_utils.h"
#include "tftrt/cpp_shim/internal.h"
#include "tsl/profiler/lib/traceme.h"
#include "xla/stream_executor/stream.h"

namespace tftrt {

using tensorflow::OpKernelContext;

GpuHandle gpu_handle(OpKernelContext* context) {
  GpuHandle out{};
  tensorflow::DeviceContext* device = context->op_device_context();
  if (device == nullptr || device->stream() == nullptr) return out;
  out.present = true;
  out.stream = reinterpret_cast<uint64_t>(device->stream()->platform_specific_handle().stream);
  out.allocator = reinterpret_cast<size_t>(context->device()->GetAllocator(tensorflow::AllocatorAttributes()));
  return out;
}

Number device_allocate(size_t allocator, size_t bytes, size_t alignment) {
  Number out{};
  out.outcome = to_outcome(guarded([&]() -> absl::Status {
    // Without retries: TensorFlow would wait ten seconds for memory that another step may free, and TensorRT has other
    // tactics to try.
    tensorflow::AllocationAttributes attributes;
    attributes.retry_on_failure = false;
    void* memory = reinterpret_cast<tensorflow::Allocator*>(allocator)->AllocateRaw(alignment, bytes, attributes);
    if (memory == nullptr) return absl::ResourceExhaustedError("TensorFlow's allocator has no such block of device memory");
    out.value = reinterpret_cast<uint64_t>(memory);
    return absl::OkStatus();
  }));
  return out;
}

void device_free(size_t allocator, uint64_t address) {
  guarded([&]() -> absl::Status {
    reinterpret_cast<tensorflow::Allocator*>(allocator)->DeallocateRaw(reinterpret_cast<void*>(address));
    return absl::OkStatus();
  }).IgnoreError();
}

bool tensor_float_32_enabled() { return tensorflow::tensor_float_32_execution_enabled(); }

int64_t trace_begin(rust::Str name) {
  return tsl::profiler::TraceMe::ActivityStart(absl::string_view(name.data(), name.size()));
}

void trace_end(int64_t id) { tsl::profiler::TraceMe::ActivityEnd(id); }

}  // namespace tftrt
