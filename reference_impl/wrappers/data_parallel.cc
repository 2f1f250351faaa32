#include "wrappers/data_parallel.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <stdexcept>

#include "fully_shard/backward_call.h"
#include "parameter/dtensor_parameter.h"
#include "tensor/on_group_device.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {

DataParallel::DataParallel(models::ModulePtr wrapped, std::shared_ptr<Communicator> group, bool is_module)
    : Module("DistributedDataParallel"),
      group_(std::move(group)),
      self_(std::make_shared<DataParallel*>(this)),
      is_module_(is_module) {
  at::NoGradGuard no_grad;
  for (const auto& [name, parameter] : models::NamedParameters(*wrapped)) {
    if (!FindDistribution(*parameter)) continue;
    throw SemanticError("RuntimeError", "\"" + name + "\" is a DTensor: its parts are no replicas");
  }
  RegisterChild("module", std::move(wrapped));
  for (const auto& [name, parameter] : models::NamedParameters(*this)) {
    BroadcastValues(*group_, parameter->value.detach(), 0);
  }
  BroadcastBuffers();
}

void DataParallel::BroadcastBuffers() {
  at::NoGradGuard no_grad;
  for (const auto& [name, buffer] : models::NamedBuffers(*this)) BroadcastValues(*group_, buffer, 0);
}

models::ModulePtr DataParallel::ShallowCopy() const {
  throw std::invalid_argument("DistributedDataParallel does not support deepcopy: it has a process group");
}

at::Tensor DataParallel::ForwardAll(std::vector<at::Tensor> inputs) {
  if (!IsInBackward()) is_queued_ = false;  // also where the last backward failed
  BroadcastBuffers();
  at::Tensor output = children().front().second->CallAll(std::move(inputs));
  CallBeforeBackwardOf(output, [weak = std::weak_ptr(self_)] {
    const auto self = weak.lock();
    if (!self || (*self)->is_queued_) return;
    (*self)->is_queued_ = true;
    CallAfterBackward([weak] {
      if (const auto alive = weak.lock()) (*alive)->AverageGradients();
    });
  });
  return output;
}

// Accumulated gradients are averages already, and equal on all ranks, so that averaging them again changes nothing.
void DataParallel::AverageGradients() {
  at::NoGradGuard no_grad;
  is_queued_ = false;
  for (const auto& [name, parameter] : models::NamedParameters(*this)) {
    at::Tensor& gradient = parameter->value.mutable_grad();
    if (!gradient.defined()) continue;
    gradient = gradient.contiguous();
    gradient.div_(group_->size());
    ReduceValues(*group_, gradient, ReduceOp::kSum);
  }
}

}  // namespace shardcts::reference
