#include "adapters/python_bridge/tensor_object.h"

#include <torch/csrc/autograd/python_variable.h>

namespace shardcts {

PyObject* WrapTensor(const at::Tensor& tensor, bool is_parameter) {
  if (!is_parameter) return THPVariable_Wrap(tensor);
  return THPVariable_Wrap(tensor, reinterpret_cast<PyTypeObject*>(ParameterClass));
}

std::optional<UnwrappedTensor> UnwrapTensor(PyObject* object) {
  if (!THPVariable_Check(object)) return std::nullopt;
  at::Tensor tensor = THPVariable_Unpack(object);
  const bool has_python_dispatch = tensor.key_set().has(c10::DispatchKey::Python);
  return UnwrappedTensor{std::move(tensor), has_python_dispatch};
}

}  // namespace shardcts
