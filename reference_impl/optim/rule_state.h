// What update rules share: entries of a parameter's state, and options. Everything here is *Local*.
#pragma once

#include <ATen/core/Tensor.h>

#include "contract/value.h"
#include "optim/rate.h"
#include "tensor/as_real.h"

namespace shardcts::reference {

// A counter: float32 without dimensions, on the CPU.
at::Tensor CounterOf(double value);
at::Tensor ZerosLike(const at::Tensor& value);

// The tensor of this name. KeyError: there is none.
at::Tensor Entry(const Dict& state, const char* name);
// Adds 1 to the counter `step` and returns it.
double NextStep(const Dict& state);
// A counter that an older state dict holds as a number becomes a tensor. KeyError: it is not there.
void AdoptCounter(Dict& state, const char* name);

// KeyError: a load has left the option out.
const Value& Option(const Dict& options, const char* name);
inline Rate LearningRate(const Dict& options) { return Rate(Option(options, "lr")); }
inline double Number(const Dict& options, const char* name) { return Option(options, name).AsDouble(); }
inline bool Flag(const Dict& options, const char* name) { return Option(options, name).AsBool(); }
// ValueError: there are not two.
double Beta(const Dict& options, size_t i);

// The tensor times the factor, in place. Of 16-bit floats the factor keeps its digits, as in Python; Tensor::mul_(Scalar)
// rounds it to the tensor's dtype first.
at::Tensor ScaleInPlace(at::Tensor tensor, double factor);

// The gradient to minimize along: the negative one with `maximize`.
at::Tensor Downhill(const at::Tensor& grad, const Dict& options);
// Weight decay: of the value itself where it is decoupled, otherwise as part of the gradient, which is returned.
at::Tensor Decayed(at::Tensor value, const at::Tensor& grad, const Dict& options);

}  // namespace shardcts::reference
