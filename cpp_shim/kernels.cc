// The kernel of TRTEngineOp: everything it does is in Rust (src/op).
#include <memory>
#include <string>

#include "tensorflow/core/framework/op_kernel.h"
#include "tftrt/cpp_shim/call_parts.h"
#include "tftrt/cpp_shim/internal.h"

namespace tftrt {
namespace {

class TRTEngineOp : public tensorflow::AsyncOpKernel {
 public:
  explicit TRTEngineOp(tensorflow::OpKernelConstruction* context)
      : tensorflow::AsyncOpKernel(context), kernel_(make(context)) {
    OP_REQUIRES_OK(context, to_status(engine_kernel_status(*kernel_)));
  }

  void ComputeAsync(tensorflow::OpKernelContext* context, DoneCallback done) override {
    auto parts = std::make_unique<Call::Parts>();
    parts->context = context;
    parts->done = std::move(done);
    engine_kernel_compute(*kernel_, std::make_unique<Call>(std::move(parts)));
  }

 private:
  static rust::Box<EngineKernel> make(tensorflow::OpKernelConstruction* context) {
    const std::string def = context->def().SerializeAsString();
    const bool gpu = context->device_type() == tensorflow::DeviceType(tensorflow::DEVICE_GPU);
    return engine_kernel_new(view(def), gpu);
  }

  rust::Box<EngineKernel> kernel_;
};

tensorflow::OpKernel* create(tensorflow::OpKernelConstruction* context) { return new TRTEngineOp(context); }

}  // namespace

void register_engine_kernels() {
  for (const char* device : {tensorflow::DEVICE_CPU, tensorflow::DEVICE_GPU}) {
    tensorflow::kernel_factory::OpKernelRegistrar(
        tensorflow::register_kernel::Name("TRTEngineOp").Device(device).Build(), "TRTEngineOp", create);
  }
}

}  // namespace tftrt
