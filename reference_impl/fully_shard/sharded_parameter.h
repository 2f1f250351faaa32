// ShardedParameter: one parameter under fully_shard. The slots of the modules contain either its sharded form (a
// DTensor, the only memory it takes) or its unsharded form (the original parameter, gathered). Semantics: FSDPParam in
// torch/distributed/fsdp/_fully_shard/_fsdp_param.py, torch 2.13.
//
// The sharded form: the tensor is split along one dimension into S chunks of c = ceil(n / S); rank r keeps chunk r. Its
// storage is always padded with zeros to c, so that all ranks gather the same amount; the local part of the DTensor is
// the view without padding. Padding is allocated once and kept, so a state dict that shares the storage stays valid.
//
// The unsharded form: an autograd leaf on a buffer of S chunks. Both are created once. Memory is freed and allocated
// again in the storage of the buffer (storage.h). Filling does not change the version counter of the leaf, so the
// tensors that autograd saved in forward are valid in backward.
//
// Everything here is *Local*; collectives.h moves the data between ranks.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "fully_shard/data_parallel_mesh.h"
#include "fully_shard/options.h"
#include "parameter/dtensor_parameter.h"

namespace shardcts::reference {

// A slot in the module tree that holds the parameter; a tied parameter has several.
struct ParameterSlot {
  models::Module* module = nullptr;
  std::string name;  // in the module: "weight"
};

// The dimension that the parameter is sharded on. NotImplementedError: not contiguous, or a dimension other than 0 that
// does not divide evenly. AssertionError: a shard dimension that the tensor does not have.
int64_t ChooseShardDim(const models::Parameter& original, const FullyShardOptions& options, int64_t shard_count);

class ShardedParameter {
 public:
  // Puts the sharded form of `original` into the slots. A meta parameter stays on the meta device. Errors as of
  // ChooseShardDim.
  ShardedParameter(const models::ParameterPtr& original, std::vector<ParameterSlot> slots,
                   const DataParallelMesh& mesh, const FullyShardOptions& options);

  const models::ParameterPtr& sharded() const { return sharded_; }
  const std::vector<ParameterSlot>& slots() const { return slots_; }
  const std::string& fqn() const { return fqn_; }
  void set_fqn(std::string fqn) { fqn_ = std::move(fqn); }
  at::ScalarType original_dtype() const { return sharded_->value.scalar_type(); }
  // True when both were created from one tied parameter.
  bool SharesOriginalWith(const ShardedParameter& other) const;

  // To be called when the registered sharded parameter or its storage may have been replaced (assign, a move to another
  // device): adopts what the first slot holds, and pads it unless it is the known padded storage. AttributeError: the
  // slot does not hold a DTensor.
  void ResetSharded();
  // Sets the compute dtype to the policy's param_dtype; none if that is the original dtype, or the parameter is not
  // floating point.
  void InitComputeDtype(const MixedPrecisionPolicy& policy);

  // Puts the sharded form into the slots and frees the unsharded one. The form that comes into the slots requires a
  // gradient where the other one did, which the user may have changed.
  void ToSharded();
  // Puts the unsharded form into the slots; FillUnsharded was called before.
  void ToUnsharded();

  // Elements of the padded chunk.
  int64_t padded_numel() const { return sharded_data_.numel(); }
  // The padded chunk, 1-D, on the mesh's device, in the compute dtype.
  at::Tensor AllGatherInput() const;
  // `chunks`: (S, padded_numel), the inputs of all ranks. Allocates the unsharded form and fills it.
  void FillUnsharded(const at::Tensor& chunks);
  // The unsharded form's buffer; undefined before the first FillUnsharded. For tests of its lifetime.
  const at::Tensor& unsharded_buffer() const { return unsharded_buffer_; }

  // Takes the gradient that backward left at the unsharded form; undefined when there is none.
  at::Tensor TakeUnshardedGradient();
  // Writes the chunks of `gradient` into `into`, (S, padded_numel), padded with zeros.
  void SplitGradient(const at::Tensor& gradient, at::Tensor into) const;
  // `reduced`: (padded_numel), this rank's chunk of the reduced gradient. It becomes the gradient of the sharded form,
  // or is added to an existing one.
  void AddShardedGradient(const at::Tensor& reduced);

 private:
  void InitDistribution(const models::Parameter& original);
  void InitSharded(const models::Parameter& original);
  void Register(const models::ParameterPtr& parameter);
  // The view without padding of a padded tensor, with size `length` in the shard dimension.
  at::Tensor WithoutPadding(const at::Tensor& padded, int64_t length) const;
  at::Tensor OnStorageDevice(const at::Tensor& tensor) const;
  bool IsPinned() const;  // on the host, where devices reach it by themselves
  std::vector<int64_t> ShapeOfAllChunks(int64_t dim) const;

  std::vector<ParameterSlot> slots_;
  DataParallelMesh mesh_;
  std::optional<CpuOffloadPolicy> offload_;
  std::string fqn_;
  std::weak_ptr<const models::Parameter> original_;                  // identity only
  std::shared_ptr<const models::Distribution> original_distribution_;  // of a tensor-parallel parameter

  int64_t shard_dim_ = 0;
  std::vector<int64_t> original_shape_;  // of the tensor that is split; for a tensor-parallel parameter the local part
  std::vector<int64_t> padded_shape_;    // of one chunk
  std::vector<int64_t> sharded_shape_;   // of this rank's chunk, without padding
  std::shared_ptr<const DTensorDistribution> distribution_;  // of the sharded form

  at::Tensor sharded_data_;  // 1-D, padded
  models::ParameterPtr sharded_;
  std::optional<at::ScalarType> compute_dtype_;  // nullopt: the original one
  at::Tensor unsharded_buffer_;                  // 1-D, S * padded_numel
  models::ParameterPtr unsharded_;
  bool shows_unsharded_ = false;  // it is in the slots
};

}  // namespace shardcts::reference
