#include "fsdp/flat_parameter.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "fully_shard/storage.h"
#include "parameter/flat_slice.h"
#include "tensor/copy_values.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

constexpr int64_t kAlignmentBytes = 16;
constexpr double kAlignmentFill = 42;  // as PyTorch fills it, so that the padding is recognized in a dump

models::Parameter LeafOn(const at::Tensor& tensor, bool requires_grad,
                         std::shared_ptr<const models::Distribution> distribution = nullptr) {
  at::Tensor leaf = tensor.variable_data();  // with its own version counter
  leaf.set_requires_grad(requires_grad);
  return {leaf, std::move(distribution)};
}

// Semantics: FlatParamHandle._validate_tensors_to_flatten.
void Validate(const std::vector<models::ParameterPtr>& parameters, bool use_orig_params) {
  const at::Tensor& first = parameters.front()->value;
  for (const models::ParameterPtr& parameter : parameters) {
    const at::Tensor& value = parameter->value;
    if (!value.is_floating_point()) throw SemanticError("ValueError", "Cannot flatten integer dtype tensors");
    if (value.scalar_type() != first.scalar_type()) {
      throw SemanticError("ValueError", std::string("Must flatten tensors with uniform dtype but got ") +
                                            c10::toString(first.scalar_type()) + " and " +
                                            c10::toString(value.scalar_type()));
    }
    if (!use_orig_params && value.requires_grad() != first.requires_grad()) {
      throw SemanticError("ValueError",
                          "Must flatten tensors with uniform `requires_grad` when `use_orig_params=False`");
    }
    if (value.device() != first.device()) {
      throw SemanticError("ValueError", "Must flatten tensors on the same device but got both " + first.device().str() +
                                            " and " + value.device().str());
    }
  }
}

}  // namespace

std::shared_ptr<FlatParameter> FlatParameter::Create(models::Module& module,
                                                     const std::vector<models::ParameterPtr>& parameters,
                                                     const FsdpOptions& options) {
  Validate(parameters, options.use_orig_params);
  std::shared_ptr<FlatParameter> flat(new FlatParameter(options));
  flat->home_ = &models::Unwrapped(module);
  flat->CollectSlots(module, parameters);
  flat->Flatten();
  flat->Expose(options.use_orig_params ? Exposure::kSlices : Exposure::kFlat);
  return flat;
}

void FlatParameter::CollectSlots(models::Module& module, const std::vector<models::ParameterPtr>& parameters) {
  for (const auto& [path, owner] : models::NamedModules(module, /*remove_duplicate=*/false)) {
    for (const auto& [name, parameter] : owner->parameters()) {
      if (std::find(parameters.begin(), parameters.end(), parameter) == parameters.end()) continue;
      const auto known = std::find(originals_.begin(), originals_.end(), parameter);
      const auto index = static_cast<size_t>(known - originals_.begin());
      const bool is_new = known == originals_.end();
      (is_new ? primary_slots_ : shared_slots_).push_back({owner, name, models::JoinName(path, name), index});
      if (is_new) originals_.push_back(parameter);
    }
  }
}

void FlatParameter::Flatten() {
  at::NoGradGuard no_grad;
  std::vector<int64_t> numels;
  for (const models::ParameterPtr& original : originals_) {
    shapes_.push_back(original->value.sizes().vec());
    numels.push_back(original->value.numel());
    requires_grad_.push_back(original->value.requires_grad());
  }
  const at::TensorOptions like = originals_.front()->value.options().requires_grad(false);
  const at::ScalarType compute_dtype =
      options_.mixed_precision.param_dtype.value_or(originals_.front()->value.scalar_type());
  const int64_t aligned =
      options_.use_orig_params ? kAlignmentBytes / static_cast<int64_t>(c10::elementSize(compute_dtype)) : 0;
  layout_ = LayOut(numels, aligned, is_sharded() ? options_.shard_group->size() : 1, options_.shard_group->size());

  // Only what this rank keeps is copied.
  at::Tensor shard = at::zeros({layout_.ShardNumel()}, like);
  const int64_t shard_begin = layout_.Owned(rank()).begin;
  for (const FlatRange& padding : layout_.padding) {
    const int64_t begin = std::max(padding.begin, shard_begin);
    const int64_t end = std::min(padding.end(), layout_.Owned(rank()).end());
    if (begin < end) shard.narrow(0, begin - shard_begin, end - begin).fill_(kAlignmentFill);
  }
  for (size_t i = 0; i < originals_.size(); ++i) {
    const FlatSlice slice = layout_.SliceOf(i, rank());
    const at::Tensor whole = originals_[i]->value.detach().contiguous().view({-1});
    shard.narrow(0, slice.begin_in_shard, slice.numel).copy_(whole.narrow(0, slice.begin_in_parameter, slice.numel));
  }
  AdoptShard(options_.offload_params ? shard.cpu() : shard);
  originals_.clear();
}

// The parameter objects are kept, their values move to the new storage.
void FlatParameter::AdoptShard(const at::Tensor& shard) {
  shard_ = shard;
  const bool any_requires_grad = std::find(requires_grad_.begin(), requires_grad_.end(), true) != requires_grad_.end();
  if (!flat_) flat_ = std::make_shared<models::Parameter>();
  *flat_ = LeafOn(shard, any_requires_grad);
  slices_.resize(shapes_.size());
  for (size_t i = 0; i < shapes_.size(); ++i) {
    const FlatSlice slice = layout_.SliceOf(i, rank());
    const at::Tensor part = shard.narrow(0, slice.begin_in_shard, slice.numel);
    // With use_orig_params the caller's own object is kept, because an optimizer may hold it.
    if (!slices_[i]) slices_[i] = options_.use_orig_params ? originals_[i] : std::make_shared<models::Parameter>();
    auto of_whole = std::make_shared<FlatSliceDistribution>();
    of_whole->shape = shapes_[i];
    of_whole->begin = slice.begin_in_parameter;
    *slices_[i] = LeafOn(is_sharded() ? part : part.view(shapes_[i]), requires_grad_[i], std::move(of_whole));
  }
}

at::Tensor FlatParameter::ViewIn(const at::Tensor& flat, size_t parameter) const {
  const FlatRange& range = layout_.parameters[parameter];
  return flat.narrow(0, range.begin, range.numel).view(shapes_[parameter]);
}

bool FlatParameter::Holds(const models::Parameter& parameter) const {
  const auto is_it = [&](const models::ParameterPtr& one) { return one.get() == &parameter; };
  return is_it(flat_) || std::ranges::any_of(slices_, is_it) || std::ranges::any_of(full_, is_it);
}

void FlatParameter::WriteBack(const at::Tensor& flat) {
  at::NoGradGuard no_grad;
  const FlatRange owned = layout_.Owned(rank());
  if (!flat.is_alias_of(shard_)) CopyValues(shard_.narrow(0, 0, owned.numel), flat.narrow(0, owned.begin, owned.numel));
  if (is_unsharded_) Reshard(/*free=*/true);  // the gathered values are out of date
}

// ---- slots

void FlatParameter::RemoveFromSlots() {
  home_->RemoveParameter(kFlatParameterName);
  for (const auto* slots : {&primary_slots_, &shared_slots_}) {
    for (const Slot& slot : *slots) slot.module->RemoveParameter(slot.name);
  }
}

void FlatParameter::FillSlots(const std::vector<models::ParameterPtr>& parameters, bool hidden) {
  for (const auto* slots : {&primary_slots_, &shared_slots_}) {
    for (const Slot& slot : *slots) {
      if (slot.module->HasParameter(slot.name)) continue;  // of a shared module, filled under its first path
      if (hidden) {
        slot.module->HideParameter(slot.name, parameters[slot.parameter]);
      } else {
        slot.module->RegisterParameter(slot.name, parameters[slot.parameter]);
      }
    }
  }
}

void FlatParameter::Expose(Exposure exposure) {
  RemoveFromSlots();
  exposure_ = exposure;
  switch (exposure) {
    case Exposure::kFlat: home_->RegisterParameter(kFlatParameterName, flat_); break;
    case Exposure::kSlices: FillSlots(slices_, /*hidden=*/false); break;
    case Exposure::kHidden: FillSlots(views_, /*hidden=*/true); break;
    case Exposure::kViews: FillSlots(views_, /*hidden=*/false); break;
    case Exposure::kFull: FillSlots(full_, /*hidden=*/false); break;
  }
}

void FlatParameter::ExposeAtRest() {
  const Exposure at_rest = options_.use_orig_params ? Exposure::kSlices : Exposure::kFlat;
  if (exposure_ != at_rest) Expose(at_rest);
}

void FlatParameter::ExposeFull(const at::Tensor& flat, const at::Tensor& gradient) {
  full_.clear();
  at_rest_.clear();
  for (size_t i = 0; i < shapes_.size(); ++i) {
    at::Tensor leaf = LeafOn(ViewIn(flat, i), options_.use_orig_params ? requires_grad_[i] : requires_grad()).value;
    if (gradient.defined() && requires_grad_[i]) leaf.mutable_grad() = ViewIn(gradient, i);
    at_rest_.push_back(*slices_[i]);
    if (options_.use_orig_params) {
      *slices_[i] = {leaf, nullptr};
      full_.push_back(slices_[i]);
    } else {
      full_.push_back(std::make_shared<models::Parameter>(models::Parameter{leaf, nullptr}));
    }
  }
  Expose(Exposure::kFull);
}

void FlatParameter::HideFull() {
  for (size_t i = 0; i < shapes_.size(); ++i) {
    const bool trains = requires_grad(i);  // with use_orig_params it may have been changed while the parameter was full
    *slices_[i] = at_rest_[i];
    if (options_.use_orig_params) slices_[i]->value.set_requires_grad(trains);
  }
  at_rest_.clear();
  full_.clear();
  ExposeAtRest();
}

void FlatParameter::BeforeApply() {
  AdoptRequiresGrad();
  const at::Tensor gradient = ShardedGradient();
  Expose(Exposure::kFlat);
  flat_->value.mutable_grad() = gradient;
}

void FlatParameter::AfterApply() {
  const at::Tensor gradient = flat_->value.grad();
  AdoptShard(flat_->value.detach());
  SetShardedGradient(gradient);
  is_unsharded_ = false;
  unsharded_buffer_ = unsharded_ = at::Tensor();
  views_.clear();
  ExposeAtRest();
}

}  // namespace shardcts::reference
