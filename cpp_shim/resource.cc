// The resource of an engine, and the ops that make, fill, save and question it.
#include <string>

#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/tensor_types.h"
#include "tftrt/cpp_shim/call_parts.h"
#include "tftrt/cpp_shim/internal.h"

namespace tftrt {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::tstring;

struct ResourceRef::Parts {
  tensorflow::core::RefCountPtr<EngineResource> resource;
};

ResourceRef::ResourceRef(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
ResourceRef::~ResourceRef() = default;
const ResourceState& ResourceRef::state() const { return parts_->resource->state(); }

namespace {

using ResourcePtr = tensorflow::core::RefCountPtr<EngineResource>;

// The resource of that handle: the manager's, else the one that its keeper has, else a new one.
absl::Status find_or_make(OpKernelContext* context, const tensorflow::ResourceHandle& handle, int64_t capacity,
                          ResourcePtr* out) {
  EngineKeeper* found = nullptr;
  // Before the resource: the manager makes one thing at a time.
  TF_RETURN_IF_ERROR(context->resource_manager()->LookupOrCreate<EngineKeeper>(
      kContainer, handle.name(), &found, [](EngineKeeper** made) {
        *made = new EngineKeeper();
        return absl::OkStatus();
      }));
  tensorflow::core::RefCountPtr<EngineKeeper> keeper(found);
  return tensorflow::LookupOrCreateResource<EngineResource>(context, handle, out, [&](EngineResource** made) {
    *made = new EngineResource(
        resource_new(keeper->keeper(), to_rust(handle.name()), to_rust(context->device()->name()), capacity));
    return absl::OkStatus();
  });
}

absl::Status find_or_make(OpKernelContext* context, const std::string& name, int64_t capacity, ResourcePtr* out) {
  return find_or_make(context, tensorflow::MakeResourceHandle<EngineResource>(context, kContainer, name), capacity, out);
}

// Gives the manager what its keeper has: TensorFlow is about to ask for the name.
absl::Status bring_back(OpKernelContext* context, const std::string& name) {
  EngineKeeper* found = nullptr;
  if (!context->resource_manager()->Lookup<EngineKeeper>(kContainer, name, &found).ok()) return absl::OkStatus();
  tensorflow::core::RefCountPtr<EngineKeeper> keeper(found);
  ResourcePtr resource;
  return keeper_holds(keeper->keeper()) ? find_or_make(context, name, 1, &resource) : absl::OkStatus();
}

}  // namespace

std::unique_ptr<ResourceRef> lookup_or_create(OpKernelContext* context, const std::string& name, int64_t capacity,
                                              Outcome& out) {
  auto parts = std::make_unique<ResourceRef::Parts>();
  absl::Status status = guarded([&] { return find_or_make(context, name, capacity, &parts->resource); });
  out = to_outcome(status);
  if (!status.ok()) return nullptr;
  return std::make_unique<ResourceRef>(std::move(parts));
}

namespace {

absl::Status scalar_string(OpKernelContext* context, int i, const char* what, std::string* out) {
  const Tensor& tensor = context->input(i);
  if (tensor.dtype() != tensorflow::DT_STRING || tensor.NumElements() != 1) {
    return absl::InvalidArgumentError(std::string(what) + " has to be one string, not " + tensor.DebugString());
  }
  *out = tensor.flat<tstring>()(0);
  return absl::OkStatus();
}

class CreateTRTResourceHandle : public tensorflow::OpKernel {
 public:
  explicit CreateTRTResourceHandle(OpKernelConstruction* context) : tensorflow::OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("resource_name", &name_));
  }

  void Compute(OpKernelContext* context) override {
    // DestroyResourceOp comes after this, when a model is unloaded.
    OP_REQUIRES_OK(context, bring_back(context, name_));
    tensorflow::AllocatorAttributes host;
    host.set_on_host(true);
    Tensor* handle = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, tensorflow::TensorShape({}), &handle, host));
    handle->scalar<tensorflow::ResourceHandle>()() =
        tensorflow::MakeResourceHandle<EngineResource>(context, kContainer, name_);
  }

 private:
  std::string name_;
};

class InitializeTRTResource : public tensorflow::OpKernel {
 public:
  explicit InitializeTRTResource(OpKernelConstruction* context) : tensorflow::OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("max_cached_engines_count", &capacity_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& handles = context->input(0);
    // TensorFlow's HandleFromInput reads the first element, also where there is none.
    OP_REQUIRES(context, handles.dtype() == tensorflow::DT_RESOURCE && handles.NumElements() == 1,
                absl::InvalidArgumentError("InitializeTRTResource: resource_handle has to be one resource, not " +
                                           tensorflow::DataTypeString(handles.dtype()) + " of shape " +
                                           handles.shape().DebugString()));
    const tensorflow::ResourceHandle& handle = tensorflow::HandleFromInput(context, 0);
    std::string file;
    OP_REQUIRES_OK(context, scalar_string(context, 1, "filename", &file));
    ResourcePtr resource;
    OP_REQUIRES_OK(context, find_or_make(context, handle, capacity_, &resource));
    OP_REQUIRES_OK(context,
                   to_status(resource_initialize(resource->state(), view(file), capacity_, gpu_handle(context))));
  }

 private:
  int64_t capacity_ = 1;
};

// Finds the resource that a scalar string input names.
absl::Status lookup(OpKernelContext* context, std::string* name, ResourcePtr* out) {
  TF_RETURN_IF_ERROR(scalar_string(context, 0, "resource_name", name));
  TF_RETURN_IF_ERROR(bring_back(context, *name));
  EngineResource* resource = nullptr;
  TF_RETURN_IF_ERROR(context->resource_manager()->Lookup<EngineResource>(kContainer, *name, &resource));
  out->reset(resource);
  return absl::OkStatus();
}

class SerializeTRTResource : public tensorflow::OpKernel {
 public:
  explicit SerializeTRTResource(OpKernelConstruction* context) : tensorflow::OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("delete_resource", &delete_resource_));
    OP_REQUIRES_OK(context, context->GetAttr("save_gpu_specific_engines", &save_engines_));
  }

  void Compute(OpKernelContext* context) override {
    std::string name, file;
    ResourcePtr resource;
    OP_REQUIRES_OK(context, lookup(context, &name, &resource));
    OP_REQUIRES_OK(context, scalar_string(context, 1, "filename", &file));
    OP_REQUIRES_OK(context, to_status(resource_serialize(resource->state(), view(file), save_engines_)));
    if (delete_resource_) {
      OP_REQUIRES_OK(context, context->resource_manager()->Delete<EngineResource>(kContainer, name));
    }
  }

 private:
  bool delete_resource_ = false;
  bool save_engines_ = true;
};

class GetCalibrationDataOp : public tensorflow::OpKernel {
 public:
  explicit GetCalibrationDataOp(OpKernelConstruction* context) : tensorflow::OpKernel(context) {}

  void Compute(OpKernelContext* context) override {
    std::string name;
    ResourcePtr resource;
    OP_REQUIRES_OK(context, lookup(context, &name, &resource));
    Blob table = resource_calibration_table(resource->state());
    OP_REQUIRES_OK(context, to_status(table.outcome));
    Tensor* output = nullptr;
    tensorflow::AllocatorAttributes host;
    host.set_on_host(true);
    OP_REQUIRES_OK(context, context->allocate_output(0, tensorflow::TensorShape({}), &output, host));
    output->scalar<tstring>()() = std::string(reinterpret_cast<const char*>(table.bytes.data()), table.bytes.size());
  }
};

template <typename Kernel>
void add(const char* name, const char* device, std::initializer_list<const char*> host_arguments) {
  tensorflow::KernelDefBuilder builder(name);
  builder.Device(device);
  for (const char* argument : host_arguments) builder.HostMemory(argument);
  tensorflow::kernel_factory::OpKernelRegistrar(
      builder.Build(), name, [](OpKernelConstruction* context) -> tensorflow::OpKernel* { return new Kernel(context); });
}

}  // namespace

void register_resource_kernels() {
  for (const char* device : {tensorflow::DEVICE_CPU, tensorflow::DEVICE_GPU}) {
    add<CreateTRTResourceHandle>("CreateTRTResourceHandle", device, {"resource_handle"});
    add<InitializeTRTResource>("InitializeTRTResource", device, {"resource_handle", "filename"});
    add<SerializeTRTResource>("SerializeTRTResource", device, {"resource_name", "filename"});
    add<GetCalibrationDataOp>("GetCalibrationDataOp", device, {"resource_name", "serialized_resource"});
  }
}

}  // namespace tftrt
