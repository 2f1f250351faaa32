// ParameterGroup: the parameters that one fully_shard call took. They are gathered together, freed together, and their
// gradients are reduced together. Semantics: FSDPParamGroup in
// torch/distributed/fsdp/_fully_shard/_fsdp_param_group.py.
//
//   forward of the module    PreForward: unshard ── forward ── PostForward: reshard (if reshard_after_forward)
//   backward of the module   PreBackward: unshard (if resharded) ── backward ── PostBackward: reshard, reduce gradients
#pragma once

#include <memory>
#include <vector>

#include "fully_shard/sharded_parameter.h"

namespace shardcts::reference {

class ParameterGroup : public std::enable_shared_from_this<ParameterGroup> {
 public:
  // *Local*. `originals[i]` is in the slots `slots[i]`. Every module that owns a parameter gets a post-load hook that
  // adopts what a load has replaced. Errors as ShardedParameter.
  static std::shared_ptr<ParameterGroup> Create(const std::vector<models::ParameterPtr>& originals,
                                                const std::vector<std::vector<ParameterSlot>>& slots,
                                                const DataParallelMesh& mesh, const FullyShardOptions& options);

  // *Local*. Called at the first forward of the root; further calls have no effect. Adopts parameters that were
  // replaced, validates, and registers the state-dict hooks that reshard. RuntimeError: a parameter on the meta device
  // or, with offload, not on the CPU.
  void LazyInit();

  // *Collective* over the mesh's shard group, unless already unsharded.
  void Unshard();
  // *Local*. Inside a forward it reshards only if reshard_after_forward.
  void Reshard();

  // *Collective* over the mesh's shard group. Gathers also if unsharded, because an optimizer or a load may have changed
  // the shards since; not while backward computes a forward again. Returns the input to be used in forward; through it
  // the group notices that its gradients are complete.
  at::Tensor PreForward(at::Tensor input);
  void PostForward();  // *Local*
  void AbandonBackward();  // *Local*; a backward has ended with an exception: its gradients are dropped
  void AbandonForward();  // *Local*; a forward has ended with an exception: if it was this group's, it is resharded
  void PreBackward();  // *Collective* like Unshard
  // *Collective* over the mesh when there are gradients; ranks agree on that because they run the same model. May be
  // called again: without gradients it only reshards.
  void PostBackward();
  // Called at the end of the backward pass: PostBackward, if the gradient never reached the module's input.
  void FinishBackward();

  // *Local*. Adopts what is registered in the slot of every parameter.
  void ResetSharded();

  const std::vector<std::unique_ptr<ShardedParameter>>& parameters() const { return parameters_; }
  void set_reshard_after_forward(bool reshard) { reshard_after_forward_ = reshard; }
  bool is_unsharded() const { return is_unsharded_; }

 private:
  enum class Phase { kIdle, kForward, kPreBackward, kPostBackward };

  ParameterGroup(const DataParallelMesh& mesh, const FullyShardOptions& options);
  void Gather();
  void ToSharded();
  // RuntimeError: in the forward of the group's module, which needs the gathered parameters.
  void ToShardedForSave();
  void ValidateDevices() const;
  void ValidateDtypes() const;
  void RegisterStateDictHooks();
  std::vector<models::Module*> OwningModules() const;

  DataParallelMesh mesh_;
  FullyShardOptions options_;
  std::vector<std::unique_ptr<ShardedParameter>> parameters_;
  bool reshard_after_forward_;
  bool is_unsharded_ = false;
  bool was_reset_ = false;  // set by the first LazyInit
  bool has_state_dict_hooks_ = false;
  Phase phase_ = Phase::kIdle;
};

}  // namespace shardcts::reference
