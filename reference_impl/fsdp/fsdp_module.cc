#include "fsdp/fsdp_module.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>
#include <stdexcept>

#include "fully_shard/backward_call.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

at::Tensor CastIfFloating(at::Tensor tensor, std::optional<at::ScalarType> dtype) {
  return dtype && tensor.defined() && tensor.is_floating_point() ? tensor.to(*dtype) : tensor;
}

}  // namespace

FsdpModule::FsdpModule(models::ModulePtr wrapped, const FsdpOptions& options, std::shared_ptr<FlatParameter> flat,
                       std::vector<BufferRecord> buffers)
    : Module("FullyShardedDataParallel"),
      options_(options),
      flat_(std::move(flat)),
      buffers_(std::move(buffers)),
      self_(std::make_shared<FsdpModule*>(this)) {
  RegisterChild(kFsdpChild, std::move(wrapped));
  if (flat_) {
    flat_->set_on_gradient([weak = std::weak_ptr(self_)] {
      if (const auto self = weak.lock()) (*self)->PostBackward();
    });
  }
}

models::ModulePtr FsdpModule::ShallowCopy() const {
  throw std::invalid_argument("FullyShardedDataParallel does not support deepcopy: it has a process group");
}

std::vector<FsdpModule*> FsdpUnits(models::Module& root) {
  std::vector<FsdpModule*> units;
  for (const auto& [path, module] : models::NamedModules(root)) {
    auto* unit = dynamic_cast<FsdpModule*>(module);
    if (unit && std::find(units.begin(), units.end(), unit) == units.end()) units.push_back(unit);
  }
  return units;
}

void FsdpModule::LazyInit() {
  if (is_root_) return;
  root_ = std::make_shared<Root>();
  root_->units = FsdpUnits(*this);
  for (FsdpModule* unit : root_->units) {
    if (unit->is_root_.value_or(false)) {
      throw SemanticError("AssertionError",
                          "Non-root FSDP instance's `_is_root` should not have been set yet or should have been set to "
                          "`False`");
    }
  }
  for (FsdpModule* unit : root_->units) {
    unit->is_root_ = unit == this;
    unit->root_ = root_;
  }
  CastBuffers();
}

// Bottom-up, so that the innermost unit of a buffer decides.
void FsdpModule::CastBuffers() {
  std::set<const void*> seen;
  for (auto unit = root_->units.rbegin(); unit != root_->units.rend(); ++unit) {
    const std::vector<BufferRecord>& records = (*unit)->buffers_;
    for (const auto& [name, buffer] : models::NamedBuffers((*unit)->wrapped(), /*remove_duplicate=*/false)) {
      if (!seen.insert(buffer.unsafeGetTensorImpl()).second) continue;
      const bool ignored = std::any_of(records.begin(), records.end(), [&, wanted = name](const BufferRecord& record) {
        return record.ignored && record.name == wanted;
      });
      if (ignored) continue;
      const at::Tensor cast =
          CastIfFloating(buffer.to(options_.device), (*unit)->options_.mixed_precision.buffer_dtype);
      if (!cast.is_same(buffer)) buffer.set_data(cast);
    }
  }
}

bool FsdpModule::FreesAfterForward() const {
  return !*is_root_ &&
         (options_.strategy == ShardingStrategy::kFullShard || options_.strategy == ShardingStrategy::kHybridShard);
}

bool FsdpModule::StaysWholeAfterForward() const {
  const ShardingStrategy strategy = options_.strategy;
  return options_.use_orig_params && at::GradMode::is_enabled() &&
         (strategy == ShardingStrategy::kShardGradOp || strategy == ShardingStrategy::kHybridShardZero2);
}

at::Tensor FsdpModule::PrepareInput(at::Tensor input) const {
  const FsdpMixedPrecision& policy = options_.mixed_precision;
  if (!input.defined()) return input;
  if (*is_root_) input = input.to(options_.device);
  const bool casts = (*is_root_ && policy.cast_root_forward_inputs) || (flat_ && policy.cast_forward_inputs);
  return casts ? CastIfFloating(std::move(input), policy.param_dtype) : input;
}

at::Tensor FsdpModule::ForwardAll(std::vector<at::Tensor> inputs) {
  LazyInit();
  if (root_->backward_end_queued && !IsInBackward()) AbandonBackward();  // the last one failed
  // Recomputed in backward, or in summon_full_params: the parameters are unsharded already.
  if (phase_ == Phase::kPreBackward || is_summoned_) return wrapped().CallAll(std::move(inputs));
  phase_ = Phase::kForward;
  at::Tensor output;
  try {
    if (flat_) {
      flat_->AdoptRequiresGrad();
      flat_->UnshardAnew();
      flat_->ExposeForForward();
    }
    for (at::Tensor& input : inputs) input = PrepareInput(std::move(input));
    output = wrapped().CallAll(std::move(inputs));
  } catch (...) {
    if (flat_) flat_->Reshard(/*free=*/true);
    phase_ = Phase::kIdle;
    throw;
  }
  if (flat_ && !StaysWholeAfterForward()) flat_->Reshard(FreesAfterForward());
  phase_ = Phase::kIdle;
  CallBeforeBackwardOf(output, [weak = std::weak_ptr(self_)] {
    if (const auto self = weak.lock()) (*self)->PreBackward();
  });
  return output;
}

void FsdpModule::PreBackward() {
  if (!root_->backward_end_queued) {
    root_->backward_end_queued = true;
    CallAfterBackward([weak = std::weak_ptr((*root_->units.front()).self_)] {
      if (const auto self = weak.lock()) (*self)->FinishBackward();
    });
  }
  if (phase_ != Phase::kIdle) return;
  phase_ = Phase::kPreBackward;
  if (!flat_) return;
  flat_->Unshard();
  flat_->ExposeForBackward();
}

void FsdpModule::PostBackward() {
  phase_ = Phase::kPostBackward;
  flat_->Reshard(/*free=*/true);
  flat_->ReduceGradient();
}

// Called on the root for all units below: also reshards units that never received a gradient.
void FsdpModule::FinishBackward() {
  for (FsdpModule* unit : root_->units) {
    if (unit->flat_) unit->flat_->Reshard(/*free=*/true);
    unit->phase_ = Phase::kIdle;
  }
  root_->backward_end_queued = false;
}

void FsdpModule::AbandonBackward() {
  for (FsdpModule* unit : root_->units) {
    if (unit->flat_) unit->flat_->DropUnshardedGradient();
  }
  FinishBackward();
}

void FsdpModule::BeforeApply() {
  if (flat_ && !is_summoned_) flat_->BeforeApply();
}

void FsdpModule::AfterApply() {
  if (flat_ && !is_summoned_) flat_->AfterApply();
}

}  // namespace shardcts::reference
