#include "fully_shard/fsdp_state.h"

#include <ATen/ATen.h>

#include "fully_shard/backward_call.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

at::Tensor CastIfFloating(at::Tensor tensor, std::optional<at::ScalarType> dtype) {
  return dtype && tensor.is_floating_point() ? tensor.to(*dtype) : tensor;
}

}  // namespace

FsdpState* FsdpState::Find(const models::Module& module) {
  return dynamic_cast<FsdpState*>(module.extension().get());
}

void FsdpState::RegisterForwardHooks() {
  // The module owns this state, so its hooks can't outlive it.
  module_->PrependForwardPreHook([this](at::Tensor input) { return PreForward(std::move(input)); });
  module_->AddForwardPostHook(
      [this](const at::Tensor&, at::Tensor output) { return PostForward(std::move(output)); });
}

at::Tensor FsdpState::PreForward(at::Tensor input) {
  LazyInit();
  if (root_->final_callback_queued && !IsInBackward()) EndBackward(*root_, &ParameterGroup::AbandonBackward);  // failed
  if (options_.mixed_precision.cast_forward_inputs) {
    input = CastIfFloating(std::move(input), options_.mixed_precision.param_dtype);
  }
  return group_ ? group_->PreForward(std::move(input)) : input;
}

at::Tensor FsdpState::PostForward(at::Tensor output) {
  if (group_) group_->PostForward();
  CallBeforeBackwardOf(output, [self = shared_from_this()] { self->PreBackward(); });
  return CastIfFloating(std::move(output), options_.mixed_precision.output_dtype);
}

void FsdpState::PreBackward() {
  if (!root_->final_callback_queued) {
    root_->final_callback_queued = true;
    CallAfterBackward([root = root_] { EndBackward(*root, &ParameterGroup::FinishBackward); });
  }
  if (group_) group_->PreBackward();
}

void FsdpState::EndBackward(Root& root, void (ParameterGroup::*end)()) {
  for (const std::weak_ptr<FsdpState>& weak : root.states) {
    const std::shared_ptr<FsdpState> state = weak.lock();
    if (state && state->group_) (state->group_.get()->*end)();
  }
  root.final_callback_queued = false;
}

void FsdpState::LazyInit() {
  if (is_root_) return;
  is_root_ = true;
  try {
    InitAsRoot();
  } catch (...) {
    for (const auto& weak : root_->states) weak.lock()->is_root_.reset();  // what was refused is tried again
    throw;
  }
}

void FsdpState::InitAsRoot() {
  CollectStates();
  if (group_ && !options_.reshard_after_forward) group_->set_reshard_after_forward(false);
  NameParameters();
  ValidateNoDuplicates();
  for (const auto& weak : root_->states) {
    const std::shared_ptr<FsdpState> state = weak.lock();
    if (state->group_) state->group_->LazyInit();
  }
}

void FsdpState::CollectStates() {
  root_ = std::make_shared<Root>();
  for (const auto& [path, module] : models::NamedModules(*module_)) {
    FsdpState* state = Find(*module);
    if (!state) continue;
    if (state != this && state->is_root_) {
      throw SemanticError("RuntimeError", "FSDP state has already been lazily initialized for " + path +
                                              "\nFSDP requires running forward through the root module first");
    }
    if (state != this) state->is_root_ = false;
    state->root_ = root_;
    root_->states.push_back(state->weak_from_this());
  }
}

void FsdpState::NameParameters() const {
  for (const auto& [name, registered] : models::NamedParameters(*module_)) {
    for (const auto& weak : root_->states) {
      const std::shared_ptr<FsdpState> state = weak.lock();
      if (!state->group_) continue;
      for (const auto& parameter : state->group_->parameters()) {
        if (parameter->sharded() == registered) parameter->set_fqn(name);
      }
    }
  }
}

void FsdpState::ValidateNoDuplicates() const {
  std::vector<const ShardedParameter*> seen;
  for (const auto& weak : root_->states) {
    const std::shared_ptr<FsdpState> state = weak.lock();
    if (!state->group_) continue;
    for (const auto& parameter : state->group_->parameters()) {
      for (const ShardedParameter* other : seen) {
        if (!parameter->SharesOriginalWith(*other)) continue;
        throw SemanticError("ValueError", "Parameter '" + parameter->fqn() +
                                              "' is shared with a parameter already managed by another FSDP group. "
                                              "For shared/tied parameters, use fully_shard([module_a, module_b]) to "
                                              "place them in the same FSDP group.");
      }
      seen.push_back(parameter.get());
    }
  }
}

}  // namespace shardcts::reference
