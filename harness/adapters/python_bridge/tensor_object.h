// at::Tensor as a Python torch.Tensor and back, without copies. Alone in its file because PyTorch's Python headers
// are slow to compile. All functions need the GIL and an imported torch.
#pragma once

#include <ATen/core/Tensor.h>
#include <Python.h>

#include <optional>

namespace shardcts {

// A new reference. The object that Python already has for this tensor, if any; a torch.nn.Parameter is made where
// `is_parameter` says so and Python has none. An undefined tensor is None. nullptr with a Python error on failure.
PyObject* WrapTensor(const at::Tensor& tensor, bool is_parameter);

struct UnwrappedTensor {
  at::Tensor tensor;
  bool has_python_dispatch = false;  // a subclass with operators of its own (DTensor): its storage means nothing
};

// nullopt when the object is no torch.Tensor.
std::optional<UnwrappedTensor> UnwrapTensor(PyObject* object);

}  // namespace shardcts
