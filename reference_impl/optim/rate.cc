#include "optim/rate.h"

#include <ATen/ATen.h>

#include <cmath>

#include "tensor/semantic_error.h"

namespace shardcts::reference {

Rate::Rate(const Value& value) {
  if (const auto* tensor = value.TryAs<Tensor>()) {
    if (tensor->data.numel() != 1) throw SemanticError("ValueError", "Tensor lr must be 1-element");
    tensor_ = tensor->data.detach().reshape({});
    return;
  }
  if (value.type() != Value::Type::kInt && value.type() != Value::Type::kDouble) {
    throw SemanticError("TypeError", "a learning rate is a number or a tensor, not " + ToString(value));
  }
  number_ = value.AsDouble();
}

double Rate::value() const { return tensor_.defined() ? tensor_.item<double>() : number_; }

Rate operator-(const Rate& rate) { return rate.tensor_.defined() ? Rate(at::neg(rate.tensor_)) : Rate(-rate.number_); }

Rate operator-(double left, const Rate& right) {
  return right.tensor_.defined() ? Rate(at::rsub(right.tensor_, left)) : Rate(left - right.number_);
}

Rate operator+(double left, const Rate& right) {
  return right.tensor_.defined() ? Rate(at::add(right.tensor_, left)) : Rate(left + right.number_);
}

Rate operator*(const Rate& left, double right) {
  return left.tensor_.defined() ? Rate(at::mul(left.tensor_, right)) : Rate(left.number_ * right);
}

Rate operator/(const Rate& left, double right) {
  return left.tensor_.defined() ? Rate(at::div(left.tensor_, right)) : Rate(left.number_ / right);
}

Rate operator/(const Rate& left, const Rate& right) {
  if (!right.tensor_.defined()) return left / right.number_;
  return Rate(left.tensor_.defined() ? at::div(left.tensor_, right.tensor_)
                                     : at::mul(at::reciprocal(right.tensor_), left.number_));
}

Rate Power(const Rate& base, double exponent) {
  return base.tensor_.defined() ? Rate(at::pow(base.tensor_, exponent)) : Rate(std::pow(base.number_, exponent));
}

}  // namespace shardcts::reference
