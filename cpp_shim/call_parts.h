// The TensorFlow side of a Call.
#ifndef TFTRT_CALL_PARTS_H_
#define TFTRT_CALL_PARTS_H_

#include <memory>
#include <string>
#include <vector>

#include "tensorflow/core/framework/op_kernel.h"
#include "tftrt/cpp_shim/internal.h"

namespace tftrt {

struct Call::Parts {
  tensorflow::OpKernelContext* context;
  // Empty once the call is finished.
  tensorflow::AsyncOpKernel::DoneCallback done;
  // What the engine writes; the context sees it at commit only, so that a failed engine leaves the outputs free
  // for the native segment.
  std::vector<tensorflow::Tensor> outputs;
  // Memory that the engine works in. Given back when the call ends, while the engine may still run: whoever gets it
  // next works behind it on the same stream.
  tensorflow::Tensor scratch;
};

// The resource of engine `name` on the context's device, made where absent; null, with the reason in `out`, where
// that fails.
std::unique_ptr<ResourceRef> lookup_or_create(tensorflow::OpKernelContext* context, const std::string& name,
                                              int64_t capacity, Outcome& out);

}  // namespace tftrt

#endif  // TFTRT_CALL_PARTS_H_
