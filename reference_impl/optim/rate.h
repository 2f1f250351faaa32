// Rate: a learning rate, which may be a tensor of one element. Arithmetic with it is done in its dtype, as in PyTorch,
// so that equal options give equal bits. *Local*.
#pragma once

#include <ATen/core/Tensor.h>

#include "contract/value.h"

namespace shardcts::reference {

class Rate {
 public:
  // A number, or a tensor of one element. TypeError: another value.
  explicit Rate(const Value& value);
  explicit Rate(double value) : number_(value) {}

  double value() const;

  friend Rate operator-(const Rate& rate);
  friend Rate operator-(double left, const Rate& right);
  friend Rate operator+(double left, const Rate& right);
  friend Rate operator*(const Rate& left, double right);
  friend Rate operator/(const Rate& left, double right);
  friend Rate operator/(const Rate& left, const Rate& right);
  friend Rate Power(const Rate& base, double exponent);

 private:
  explicit Rate(at::Tensor tensor) : tensor_(std::move(tensor)) {}

  double number_ = 0;
  at::Tensor tensor_;  // undefined: it is a number
};

}  // namespace shardcts::reference
