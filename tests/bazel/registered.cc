// Says whether TRTEngineOp and its kernels are registered in this program: exit code 0 where they are.
#include <cstdio>
#include <string>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/kernels.h"

int main() {
  TF_Buffer* ops = TF_GetAllOpList();
  // A serialized OpList, in which names stand as they are.
  const bool op = std::string(static_cast<const char*>(ops->data), ops->length).find("TRTEngineOp") != std::string::npos;
  TF_DeleteBuffer(ops);
  TF_Status* status = TF_NewStatus();
  TF_Buffer* kernels = TF_GetRegisteredKernelsForOp("TRTEngineOp", status);
  const bool kernel = TF_GetCode(status) == TF_OK && kernels->length > 0;
  TF_DeleteBuffer(kernels);
  TF_DeleteStatus(status);
  std::printf("TensorFlow %s: TRTEngineOp %s, its kernels %s\n", TF_Version(), op ? "registered" : "missing",
              kernel ? "registered" : "missing");
  return op && kernel ? 0 : 1;
}
