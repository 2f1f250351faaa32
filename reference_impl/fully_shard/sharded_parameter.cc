#include "fully_shard/sharded_parameter.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "fully_shard/storage.h"
#include "tensor/semantic_error.h"
#include "tensor/sharding.h"

namespace shardcts::reference {
namespace {

std::string SizeText(at::IntArrayRef shape) {
  std::string text;
  for (int64_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "torch.Size([" + text + "])";
}

models::ParameterPtr LeafOn(const at::Tensor& tensor, bool requires_grad,
                            std::shared_ptr<const models::Distribution> distribution) {
  at::Tensor leaf = tensor.variable_data();  // with its own version counter
  leaf.set_requires_grad(requires_grad);
  return std::make_shared<models::Parameter>(models::Parameter{leaf, std::move(distribution)});
}

}  // namespace

std::optional<int64_t> LargestDim(const models::Parameter& parameter) {
  const DTensorDistribution* distribution = FindDistribution(parameter);
  const std::vector<int64_t> shape = distribution ? distribution->shape : parameter.value.sizes().vec();
  return std::max_element(shape.begin(), shape.end()) - shape.begin();
}

int64_t ChooseShardDim(const models::Parameter& original, const FullyShardOptions& options, int64_t shard_count) {
  const at::Tensor& value = original.value;
  int64_t dim = options.shard_placement ? options.shard_placement(original).value_or(0) : 0;
  if (dim < 0) dim += value.dim();
  if (!value.is_contiguous()) {
    throw SemanticError("NotImplementedError", "FSDP does not support non-contiguous parameters yet: param.shape=" +
                                                   SizeText(value.sizes()));
  }
  if (dim >= value.dim()) {
    throw SemanticError("AssertionError", "Shard dim " + std::to_string(dim) + " is invalid for " +
                                              std::to_string(value.dim()) + "D tensor: " + SizeText(value.sizes()));
  }
  if (dim > 0 && value.size(dim) % shard_count != 0) {
    throw SemanticError("NotImplementedError", "FSDP does not support uneven sharding on dim " + std::to_string(dim) +
                                                   ": " + SizeText(value.sizes()) +
                                                   " (world size: " + std::to_string(shard_count) + ")");
  }
  return dim;
}

ShardedParameter::ShardedParameter(const models::ParameterPtr& original, std::vector<ParameterSlot> slots,
                                   const DataParallelMesh& mesh, const FullyShardOptions& options)
    : slots_(std::move(slots)),
      mesh_(mesh),
      offload_(options.offload),
      original_(original),
      original_distribution_(original->distribution),
      shard_dim_(ChooseShardDim(*original, options, mesh.shard_count())),
      original_shape_(original->value.sizes().vec()) {
  at::NoGradGuard no_grad;
  InitDistribution(*original);
  InitSharded(*original);
  Register(sharded_);
}

bool ShardedParameter::SharesOriginalWith(const ShardedParameter& other) const {
  return !original_.owner_before(other.original_) && !other.original_.owner_before(original_);
}

void ShardedParameter::InitDistribution(const models::Parameter& original) {
  auto distribution = std::make_shared<DTensorDistribution>();
  if (const DTensorDistribution* tensor_parallel = FindDistribution(original)) {
    distribution->mesh = Concatenate(*mesh_.mesh(), *tensor_parallel->mesh);
    distribution->placements = ComposeDataAndTensorParallel(
        mesh_.PlacementsFor(shard_dim_), tensor_parallel->placements, tensor_parallel->mesh->shape());
    distribution->shape = tensor_parallel->shape;
    distribution->stride = tensor_parallel->stride;
  } else {
    distribution->mesh = mesh_.mesh();
    distribution->placements = mesh_.PlacementsFor(shard_dim_);
    distribution->shape = original_shape_;
    distribution->stride = ContiguousStride(original_shape_);
  }
  distribution_ = std::move(distribution);
}

void ShardedParameter::InitSharded(const models::Parameter& original) {
  at::Tensor whole = original.value.detach();
  if (!whole.is_meta()) whole = whole.to(mesh_.device());
  const int64_t size = whole.size(shard_dim_);
  const Range owned = Chunk(size, mesh_.shard_count(), mesh_.shard_rank());
  padded_shape_ = sharded_shape_ = original_shape_;
  padded_shape_[shard_dim_] = ChunkSize(size, mesh_.shard_count());
  sharded_shape_[shard_dim_] = owned.size();

  at::Tensor padded = whole.new_zeros(padded_shape_);
  WithoutPadding(padded, owned.size()).copy_(whole.narrow(shard_dim_, owned.begin, owned.size()));
  padded = OnStorageDevice(padded);
  sharded_data_ = padded.view({-1});
  sharded_ = LeafOn(WithoutPadding(padded, owned.size()), original.value.requires_grad(), distribution_);
}

at::Tensor ShardedParameter::WithoutPadding(const at::Tensor& padded, int64_t length) const {
  return padded.narrow(shard_dim_, 0, length);
}

at::Tensor ShardedParameter::OnStorageDevice(const at::Tensor& tensor) const {
  if (!offload_ || tensor.is_meta()) return tensor;
  const at::Tensor on_cpu = tensor.cpu();
  return IsPinned() ? on_cpu.pin_memory() : on_cpu;
}

bool ShardedParameter::IsPinned() const { return offload_ && offload_->pin_memory && !mesh_.device().is_cpu(); }

void ShardedParameter::ResetSharded() {
  at::NoGradGuard no_grad;
  const models::ParameterPtr& registered = slots_.front().module->parameter(slots_.front().name);
  const DTensorDistribution* distribution = FindDistribution(*registered);
  if (!distribution) throw SemanticError("AttributeError", "'Parameter' object has no attribute '_local_tensor'");
  sharded_ = registered;
  distribution_ = std::shared_ptr<const DTensorDistribution>(registered->distribution, distribution);
  at::Tensor local = registered->value.detach();
  if (local.is_meta()) return;
  const void* known = sharded_data_.storage().data();
  if (known != nullptr && known == local.storage().data()) return;

  const at::Tensor given = local;
  // (2, 0) has two rows, although no elements.
  const int64_t length = local.size(shard_dim_);
  if (local.sizes() != at::IntArrayRef(padded_shape_)) {
    if (shard_dim_ != 0) {
      throw SemanticError("AssertionError", "Shard(" + std::to_string(shard_dim_) +
                                                ") requires even sharding: local_tensor.size()=" +
                                                SizeText(local.sizes()));
    }
    at::Tensor padded = local.new_zeros(padded_shape_);
    WithoutPadding(padded, length).copy_(local);
    local = OnStorageDevice(padded);
  } else if (IsPinned() && local.is_cpu() && !local.is_pinned()) {  // what is elsewhere is refused later
    local = OnStorageDevice(local);
  }
  if (!local.is_same(given)) {
    const at::Tensor gradient = sharded_->value.grad();
    sharded_->value = LeafOn(WithoutPadding(local, length), sharded_->value.requires_grad(), nullptr)->value;
    sharded_->value.mutable_grad() = gradient;
  }
  sharded_data_ = local.view({-1});
}

void ShardedParameter::InitComputeDtype(const MixedPrecisionPolicy& policy) {
  const bool applies = policy.param_dtype && *policy.param_dtype != original_dtype() &&
                       at::isFloatingType(original_dtype());
  compute_dtype_ = applies ? policy.param_dtype : std::nullopt;
}

void ShardedParameter::Register(const models::ParameterPtr& parameter) {
  for (const ParameterSlot& slot : slots_) slot.module->SetParameter(slot.name, parameter);
}

void ShardedParameter::ToSharded() {
  if (shows_unsharded_) sharded_->value.set_requires_grad(unsharded_->value.requires_grad());
  shows_unsharded_ = false;
  Register(sharded_);
  if (unsharded_buffer_.defined()) FreeStorage(unsharded_buffer_);
}

void ShardedParameter::ToUnsharded() {
  if (!shows_unsharded_) unsharded_->value.set_requires_grad(sharded_->value.requires_grad());
  shows_unsharded_ = true;
  Register(unsharded_);
}

at::Tensor ShardedParameter::AllGatherInput() const {
  const at::Tensor on_device = sharded_data_.to(mesh_.device());
  return compute_dtype_ ? on_device.to(*compute_dtype_) : on_device;
}

std::vector<int64_t> ShardedParameter::ShapeOfAllChunks(int64_t dim) const {
  std::vector<int64_t> shape = padded_shape_;
  shape[dim] *= mesh_.shard_count();
  return shape;
}

void ShardedParameter::FillUnsharded(const at::Tensor& chunks) {
  at::NoGradGuard no_grad;
  if (!unsharded_ || unsharded_buffer_.scalar_type() != chunks.scalar_type()) {  // it may have been cast
    unsharded_buffer_ = at::empty({chunks.numel()}, chunks.options());
    const at::Tensor view = unsharded_buffer_.as_strided(original_shape_, ContiguousStride(original_shape_), 0);
    const models::ParameterPtr& shown = shows_unsharded_ ? unsharded_ : sharded_;
    unsharded_ = LeafOn(view, shown->value.requires_grad(), original_distribution_);
  }
  AllocateStorage(unsharded_buffer_);
  at::Tensor whole = chunks.contiguous().view(ShapeOfAllChunks(0));
  if (shard_dim_ != 0) whole = at::cat(whole.chunk(mesh_.shard_count(), 0), shard_dim_);
  unsharded_buffer_.copy_(whole.view({-1}));
}

at::Tensor ShardedParameter::TakeUnshardedGradient() {
  if (!unsharded_) return {};
  at::Tensor gradient = unsharded_->value.grad();
  unsharded_->value.mutable_grad() = at::Tensor();
  return gradient;
}

void ShardedParameter::SplitGradient(const at::Tensor& gradient, at::Tensor into) const {
  for (int64_t rank = 0; rank < mesh_.shard_count(); ++rank) {
    const Range owned = Chunk(gradient.size(shard_dim_), mesh_.shard_count(), rank);
    at::Tensor chunk = into.select(0, rank).zero_().view(padded_shape_);
    WithoutPadding(chunk, owned.size()).copy_(gradient.narrow(shard_dim_, owned.begin, owned.size()));
  }
}

void ShardedParameter::AddShardedGradient(const at::Tensor& reduced) {
  at::Tensor gradient = WithoutPadding(reduced.view(padded_shape_), sharded_shape_[shard_dim_]);
  if (offload_) gradient = gradient.cpu();
  at::Tensor& registered = sharded_->value.mutable_grad();
  if (registered.defined()) {
    registered.add_(gradient);
  } else {
    registered = gradient;
  }
}

}  // namespace shardcts::reference
