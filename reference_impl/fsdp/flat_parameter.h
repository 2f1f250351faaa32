// FlatParameter: the parameters of one unit as one 1-D tensor, of which every rank keeps a shard. Semantics:
// FlatParamHandle in torch/distributed/fsdp/_flat_param.py, torch 2.13.
//
// The parameters in the modules' slots, by exposure:
//
//   kFlat    the shard as one parameter "_flat_param" of the wrapped module; the original names are gone
//   kSlices  the original names, each the 1-D range of elements that this rank's shard holds, which may be empty
//   kHidden  in forward and backward: views of the gathered flat parameter, found by name but not listed
//   kViews   in forward and backward with use_orig_params: the same views, listed
//   kFull    in summon_full_params: the original names with full values, each a leaf of its own
//
// At rest (neither in use nor summoned) it is kFlat, or kSlices with use_orig_params. The parameter objects of kFlat
// and kSlices live as long as this object, so an optimizer can hold them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fsdp/flatten_layout.h"
#include "fsdp/options.h"

namespace shardcts::reference {

constexpr char kFlatParameterName[] = "_flat_param";

class FlatParameter : public std::enable_shared_from_this<FlatParameter> {
 public:
  // A slot of a module that holds a flattened parameter. The first slot of each in traversal order is its primary slot.
  struct Slot {
    models::Module* module = nullptr;
    std::string name;  // in the module
    std::string fqn;   // below the unit
    size_t parameter = 0;
  };
  enum class Exposure { kFlat, kSlices, kHidden, kViews, kFull };

  // *Local*: every rank keeps its shard of the values that it has. Flattens those parameters of `module` that are in
  // `parameters`, in the order of the module tree, a tied one once.
  // ValueError: integers, mixed dtypes or devices, mixed requires_grad without use_orig_params.
  static std::shared_ptr<FlatParameter> Create(models::Module& module,
                                               const std::vector<models::ParameterPtr>& parameters,
                                               const FsdpOptions& options);

  // All below are *Local* unless they say otherwise.
  const FlattenLayout& layout() const { return layout_; }
  int64_t rank() const { return is_sharded() ? options_.shard_group->rank() : 0; }
  const std::vector<Slot>& primary_slots() const { return primary_slots_; }
  const std::vector<Slot>& shared_slots() const { return shared_slots_; }
  const std::vector<int64_t>& shape(size_t parameter) const { return shapes_[parameter]; }
  bool requires_grad() const { return flat_->value.requires_grad(); }
  bool is_sharded() const { return options_.strategy != ShardingStrategy::kNoShard; }
  const FsdpOptions& options() const { return options_; }

  Exposure exposure() const { return exposure_; }
  void Expose(Exposure exposure);
  void ExposeAtRest();  // kFlat or kSlices

  // This rank's shard, padding included. The complete flat parameter if it is not sharded.
  const at::Tensor& shard() const { return shard_; }
  // The shard without its padding; shares its storage.
  at::Tensor OwnedShard() const { return shard_.narrow(0, 0, layout_.Owned(rank()).numel); }
  at::ScalarType dtype() const { return shard_.scalar_type(); }
  const models::ParameterPtr& slice(size_t parameter) const { return slices_[parameter]; }
  // The parameter object of kFlat.
  const models::ParameterPtr& flat_object() const { return flat_; }
  // Whether it is an object of kFlat, kSlices or kFull.
  bool Holds(const models::Parameter& parameter) const;
  // Whether this parameter requires gradients. With use_orig_params each has its own flag, otherwise they share one.
  bool requires_grad(size_t parameter) const {
    return (options_.use_orig_params ? slices_[parameter] : flat_)->value.requires_grad();
  }

  // *Collective* over the shard group. The full flat parameter in the original dtype on `options.device`: a new tensor
  // if it is sharded, otherwise the shard itself. May have padding at the end.
  at::Tensor Gather() const;
  // *Collective* over the shard group. The same on its first rank; on other ranks undefined, and without allocating
  // memory.
  at::Tensor GatherToFirst() const;
  // The range in the flat parameter of the rows of a parameter that a rank has in a SHARDED state dict: its chunk of
  // dimension 0 (Chunk, tensor/sharding.h). RuntimeError: a parameter without dimensions.
  FlatRange RowsOf(size_t parameter, int64_t rank) const;
  // *Collective* over the shard group; only if sharded. This rank's rows of each parameter, with their shape, on
  // `options.device`: views of one new tensor. Ranks send each other exactly the elements that are missing.
  std::vector<at::Tensor> GatherRows() const;
  // This parameter's part of a result of Gather, with its shape.
  at::Tensor ViewIn(const at::Tensor& flat, size_t parameter) const;
  // Copies this rank's part of a full flat parameter into the shard.
  void WriteBack(const at::Tensor& flat);
  // *Collective* over the shard group. The sharded gradient, gathered; undefined when there is none.
  at::Tensor GatherGradient() const;

  // Called before a forward, a move and a scope of full parameters: adopts requires_grad of the parameter objects at
  // rest, which their owner may have changed.
  void AdoptRequiresGrad();
  // *Collective* over the shard group, unless unsharded: gathers, in the compute dtype.
  void Unshard();
  // *Collective* over the shard group. The same, also if unsharded: an optimizer or a load may have changed the shards.
  void UnshardAnew();
  // Exposes views of the gathered parameter: new ones for a forward, those of the last forward for the backward.
  void ExposeForForward();
  void ExposeForBackward();
  // Exposes the parameters at rest and, with `free`, frees the memory of the gathered parameter. Tensors that autograd
  // has saved of it become valid again with the next Unshard.
  void Reshard(bool free);
  bool is_unsharded() const { return is_unsharded_; }
  // Bytes that the gathered parameter occupies now, 0 if it has no memory of its own. For tests of when it is freed.
  size_t UnshardedBytes() const;
  // Called from backward when the gradient of the gathered flat parameter is complete.
  void set_on_gradient(std::function<void()> callback) { on_gradient_ = std::move(callback); }
  // *Collective* over the shard and replicate groups when there is a gradient. Averages the gradient of the gathered
  // parameter over all ranks and adds it to the gradients of the sharded parameters.
  void ReduceGradient();
  void DropUnshardedGradient();  // *Local*
  // The gradient of the shard, padding included; undefined when there is none.
  at::Tensor ShardedGradient() const;
  void SetShardedGradient(const at::Tensor& gradient);

  // Called before and after every tensor is replaced (apply_hooks.h).
  void BeforeApply();
  void AfterApply();

  // Exposes the full parameters as leaves on `flat`, a result of Gather, with the gradient of GatherGradient if it is
  // defined. With use_orig_params these are the existing parameter objects.
  void ExposeFull(const at::Tensor& flat, const at::Tensor& gradient = {});
  // Ends ExposeFull. Gradients of the leaves are lost.
  void HideFull();

 private:
  explicit FlatParameter(const FsdpOptions& options) : options_(options) {}
  void CollectSlots(models::Module& module, const std::vector<models::ParameterPtr>& parameters);
  void Flatten();
  void AdoptShard(const at::Tensor& shard);
  void MakeViews();
  void MakeUnsharded();
  bool OwnsUnsharded() const;
  at::Tensor ShardOnDevice() const;
  void RemoveFromSlots();
  void FillSlots(const std::vector<models::ParameterPtr>& parameters, bool hidden);
  at::ScalarType ComputeDtype() const { return options_.mixed_precision.param_dtype.value_or(dtype()); }
  at::ScalarType ReduceDtype() const;
  at::Tensor AverageOverRanks(at::Tensor gradient) const;
  void AddShardedGradient(at::Tensor reduced);

  FsdpOptions options_;
  FlattenLayout layout_;
  models::Module* home_ = nullptr;  // the module that has the parameter "_flat_param"
  std::vector<Slot> primary_slots_;
  std::vector<Slot> shared_slots_;
  std::vector<std::vector<int64_t>> shapes_;
  std::vector<models::ParameterPtr> originals_;  // until they are flattened
  std::vector<bool> requires_grad_;

  Exposure exposure_ = Exposure::kFlat;
  at::Tensor shard_;
  models::ParameterPtr flat_;                 // on shard_
  std::vector<models::ParameterPtr> slices_;  // on parts of shard_
  std::vector<models::ParameterPtr> views_;   // in forward and backward
  std::vector<models::ParameterPtr> full_;    // while summoned
  std::vector<models::Parameter> at_rest_;    // the contents of slices_ when not summoned

  bool is_unsharded_ = false;
  at::Tensor unsharded_buffer_;  // padded, in the compute dtype; its memory is freed and allocated again
  at::Tensor unsharded_;         // the autograd leaf on it
  std::function<void()> on_gradient_;
};

}  // namespace shardcts::reference
