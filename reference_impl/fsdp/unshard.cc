// FlatParameter's collectives: gathering the parameter, reducing its gradient.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/autograd.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include "fsdp/flat_parameter.h"
#include "fsdp/phase_timings.h"
#include "fsdp/range_exchange.h"
#include "fully_shard/storage.h"
#include "tensor/exchange.h"
#include "tensor/semantic_error.h"
#include "tensor/sharding.h"

namespace shardcts::reference {
namespace {

class CallOnGradient : public torch::autograd::PostAccumulateGradHook {
 public:
  explicit CallOnGradient(std::function<void()> callback) : callback_(std::move(callback)) {}
  void operator()(const at::Tensor&) override { callback_(); }

 private:
  std::function<void()> callback_;
};

// The divisors before and after a sum over `ranks` ranks, about sqrt(ranks) each, so that neither part overflows.
// Semantics: DefaultState._get_gradient_predivide_factor.
struct Divisors {
  double before = 1;
  double after = 1;
};

Divisors DivisorsFor(int64_t ranks) {
  int64_t before = 1;
  while (ranks % before == 0 && ranks / before > before) before *= 2;
  return {static_cast<double>(before), static_cast<double>(ranks) / static_cast<double>(before)};
}

void DivideBy(double divisor, at::Tensor& tensor) {
  if (divisor > 1) tensor.div_(divisor);
}

}  // namespace

at::Tensor FlatParameter::ShardOnDevice() const {
  const PhaseTimer timer(TimedPhase::kDeviceCopy);
  return shard_.to(options_.device);
}

at::Tensor FlatParameter::Gather() const {
  if (!is_sharded()) return shard_;
  const PhaseTimer unshard(TimedPhase::kUnshard);
  at::NoGradGuard no_grad;
  const at::Tensor shard = ShardOnDevice();
  at::Tensor whole = at::empty({layout_.PaddedNumel()}, shard.options());
  const PhaseTimer gather(TimedPhase::kGather);
  options_.shard_group->AllGatherInto(whole, shard);
  return whole;
}

at::Tensor FlatParameter::GatherToFirst() const {
  if (!is_sharded()) return rank() == 0 ? shard_ : at::Tensor();
  const PhaseTimer unshard(TimedPhase::kUnshard);
  at::NoGradGuard no_grad;
  const at::Tensor shard = ShardOnDevice();
  const PhaseTimer gather(TimedPhase::kGather);
  return GatherTo(*options_.shard_group, shard, 0);
}

FlatRange FlatParameter::RowsOf(size_t parameter, int64_t rank) const {
  const std::vector<int64_t>& shape = shapes_[parameter];
  if (shape.empty()) throw SemanticError("RuntimeError", "chunk expects at least a 1-dimensional tensor");
  const int64_t row_numel = c10::multiply_integers(shape.begin() + 1, shape.end());
  const Range rows = Chunk(shape.front(), layout_.ranks, rank);
  return {layout_.parameters[parameter].begin + rows.begin * row_numel, rows.size() * row_numel};
}

std::vector<at::Tensor> FlatParameter::GatherRows() const {
  const PhaseTimer unshard(TimedPhase::kUnshard);
  at::NoGradGuard no_grad;
  RangesByRank have(layout_.ranks);
  RangesByRank want(layout_.ranks);
  for (int64_t r = 0; r < layout_.ranks; ++r) {
    have[r] = {layout_.Owned(r)};
    for (size_t i = 0; i < shapes_.size(); ++i) want[r].push_back(RowsOf(i, r));
  }
  std::vector<int64_t> numels;
  for (const FlatRange& range : want[rank()]) numels.push_back(range.numel);
  const at::Tensor owned = ShardOnDevice().narrow(0, 0, have[rank()].front().numel);
  const at::Tensor memory = at::empty({c10::sum_integers(numels)}, owned.options());
  std::vector<at::Tensor> rows = memory.split_with_sizes(numels);
  {
    const PhaseTimer gather(TimedPhase::kGather);
    ExchangeRanges(*options_.shard_group, have, want, {&owned, 1}, rows);
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    std::vector<int64_t> shape = shapes_[i];
    shape.front() = Chunk(shape.front(), layout_.ranks, rank()).size();
    rows[i] = rows[i].view(shape);
  }
  return rows;
}

at::Tensor FlatParameter::GatherGradient() const {
  at::Tensor gradient = ShardedGradient();
  if (!is_sharded()) return gradient;
  // With use_orig_params a rank on which no parameter has elements has none where others have.
  constexpr int kNone = -1;
  const int own = gradient.defined() ? static_cast<int>(gradient.scalar_type()) : kNone;
  at::Tensor dtypes = at::empty({layout_.ranks}, at::TensorOptions(at::kInt).device(options_.device));
  options_.shard_group->AllGatherInto(dtypes, at::full({1}, own, dtypes.options()));
  const int dtype = dtypes.max().item<int>();
  if (dtype == kNone) return {};
  if (!gradient.defined()) gradient = at::zeros({shard_.numel()}, shard_.options().dtype(static_cast<at::ScalarType>(dtype)));
  at::Tensor whole = at::empty({layout_.PaddedNumel()}, gradient.options().device(options_.device));
  options_.shard_group->AllGatherInto(whole, gradient.to(options_.device));
  return whole;
}

// ---- forward and backward

bool FlatParameter::OwnsUnsharded() const {
  return is_sharded() || ComputeDtype() != dtype() || shard_.device() != options_.device;
}

// The leaf is created once: tensors saved by autograd alias the buffer, whose memory is freed and allocated again.
void FlatParameter::MakeUnsharded() {
  if (!OwnsUnsharded()) {
    unsharded_buffer_ = shard_;
  } else {
    unsharded_buffer_ =
        at::empty({layout_.PaddedNumel()}, shard_.options().dtype(ComputeDtype()).device(options_.device));
  }
  unsharded_ = unsharded_buffer_.narrow(0, 0, layout_.numel).variable_data();
  if (!requires_grad()) return;
  unsharded_.set_requires_grad(true);
  auto call = [weak = weak_from_this()] {
    const std::shared_ptr<FlatParameter> self = weak.lock();
    if (self && self->on_gradient_) self->on_gradient_();
  };
  torch::autograd::impl::set_post_acc_grad_hooks(unsharded_, std::make_unique<CallOnGradient>(std::move(call)));
}

void FlatParameter::AdoptRequiresGrad() {
  bool any = false;
  bool changed = false;
  for (size_t i = 0; i < shapes_.size(); ++i) {
    const bool now = requires_grad(i);
    changed |= now != requires_grad_[i];
    any |= now;
    requires_grad_[i] = now;
  }
  if (!changed) return;
  flat_->value.set_requires_grad(any);
  Reshard(/*free=*/true);
  unsharded_buffer_ = unsharded_ = at::Tensor();
}

void FlatParameter::Unshard() {
  if (!is_unsharded_) UnshardAnew();
}

void FlatParameter::UnshardAnew() {
  at::NoGradGuard no_grad;
  if (!unsharded_.defined()) MakeUnsharded();
  if (OwnsUnsharded()) {
    AllocateStorage(unsharded_buffer_);
    const at::Tensor shard = shard_.to(options_.device, ComputeDtype());
    if (is_sharded()) {
      options_.shard_group->AllGatherInto(unsharded_buffer_, shard);
    } else {
      unsharded_buffer_.copy_(shard);
    }
  }
  is_unsharded_ = true;
}

// A single split, so that backward concatenates the gradients with one copy.
void FlatParameter::MakeViews() {
  std::vector<int64_t> sizes;
  std::vector<size_t> pieces;  // the index of each parameter among them
  int64_t end = 0;
  for (const FlatRange& range : layout_.parameters) {
    if (range.begin > end) sizes.push_back(range.begin - end);
    pieces.push_back(sizes.size());
    sizes.push_back(range.numel);
    end = range.end();
  }
  if (end < layout_.numel) sizes.push_back(layout_.numel - end);
  const std::vector<at::Tensor> parts = unsharded_.split_with_sizes(sizes);
  views_.clear();
  for (size_t i = 0; i < shapes_.size(); ++i) {
    at::Tensor view = parts[pieces[i]].view(shapes_[i]);
    if (!requires_grad_[i]) view = view.detach();
    views_.push_back(std::make_shared<models::Parameter>(models::Parameter{view, nullptr}));
  }
}

void FlatParameter::ExposeForForward() {
  MakeViews();
  ExposeForBackward();
}

// The backward of an earlier forward may have ended in the meantime, and with it the views.
void FlatParameter::ExposeForBackward() {
  if (views_.empty()) MakeViews();
  Expose(options_.use_orig_params ? Exposure::kViews : Exposure::kHidden);
}

void FlatParameter::Reshard(bool free) {
  const PhaseTimer timer(TimedPhase::kReshard);
  ExposeAtRest();
  if (!free || !is_unsharded_) return;
  if (OwnsUnsharded()) FreeStorage(unsharded_buffer_);
  is_unsharded_ = false;
}

size_t FlatParameter::UnshardedBytes() const {
  return unsharded_buffer_.defined() && OwnsUnsharded() ? StorageBytes(unsharded_buffer_) : 0;
}

// ---- gradients

at::ScalarType FlatParameter::ReduceDtype() const {
  const FsdpMixedPrecision& policy = options_.mixed_precision;
  return policy.reduce_dtype.value_or(policy.param_dtype.value_or(dtype()));
}

at::Tensor FlatParameter::AverageOverRanks(at::Tensor gradient) const {
  Communicator& shard_group = *options_.shard_group;
  Communicator* replicas = options_.replicate_group.get();
  const Divisors divisors = DivisorsFor(shard_group.size() * (replicas ? replicas->size() : 1));
  DivideBy(divisors.before, gradient);
  at::Tensor reduced = gradient;
  if (is_sharded()) {
    const int64_t missing = layout_.PaddedNumel() - gradient.numel();
    if (missing > 0) gradient = at::constant_pad_nd(gradient, {0, missing});
    reduced = at::empty({layout_.ShardNumel()}, gradient.options());
    shard_group.ReduceScatter(reduced, gradient, ReduceOp::kSum);
  } else if (shard_group.size() > 1) {
    shard_group.AllReduce(reduced, ReduceOp::kSum);
  }
  if (replicas && replicas->size() > 1) replicas->AllReduce(reduced, ReduceOp::kSum);
  DivideBy(divisors.after, reduced);
  return reduced;
}

void FlatParameter::ReduceGradient() {
  at::NoGradGuard no_grad;
  if (!unsharded_.defined()) return;
  at::Tensor gradient = unsharded_.grad();
  unsharded_.mutable_grad() = at::Tensor();
  views_.clear();
  if (gradient.defined()) AddShardedGradient(AverageOverRanks(gradient.to(ReduceDtype()).contiguous()));
}

void FlatParameter::DropUnshardedGradient() {
  if (unsharded_.defined()) unsharded_.mutable_grad() = at::Tensor();
  views_.clear();
}

void FlatParameter::AddShardedGradient(at::Tensor reduced) {
  if (!options_.mixed_precision.keep_low_precision_grads) reduced = reduced.to(dtype());
  reduced = reduced.to(shard_.device());
  const at::Tensor known = ShardedGradient();
  SetShardedGradient(known.defined() ? known.add_(reduced) : reduced);
}

at::Tensor FlatParameter::ShardedGradient() const {
  if (!options_.use_orig_params) return flat_->value.grad();
  at::Tensor gradient;
  for (size_t i = 0; i < slices_.size(); ++i) {
    const at::Tensor& part = slices_[i]->value.grad();
    if (!part.defined()) continue;
    if (!gradient.defined()) gradient = at::zeros({shard_.numel()}, part.options());
    const FlatSlice slice = layout_.SliceOf(i, rank());
    gradient.narrow(0, slice.begin_in_shard, slice.numel).copy_(part.view({-1}));
  }
  return gradient;
}

void FlatParameter::SetShardedGradient(const at::Tensor& gradient) {
  if (!options_.use_orig_params) {
    flat_->value.mutable_grad() = gradient;
    return;
  }
  for (size_t i = 0; i < slices_.size(); ++i) {
    const FlatSlice slice = layout_.SliceOf(i, rank());
    at::Tensor part;
    if (gradient.defined() && requires_grad_[i] && slice.numel > 0) {
      part = gradient.narrow(0, slice.begin_in_shard, slice.numel).view(slices_[i]->value.sizes());
    }
    slices_[i]->value.mutable_grad() = part;
  }
}

}  // namespace shardcts::reference
