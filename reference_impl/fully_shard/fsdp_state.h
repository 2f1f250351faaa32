// FsdpState: the data that fully_shard keeps with the module that it was applied to. It hooks the module's forward and
// backward and calls the module's parameter group. Semantics: FSDPState in
// torch/distributed/fsdp/_fully_shard/_fsdp_state.py.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "fully_shard/options.h"
#include "fully_shard/parameter_group.h"

namespace shardcts::reference {

class FsdpState : public models::ModuleExtension, public std::enable_shared_from_this<FsdpState> {
 public:
  // `group` is nullptr when earlier calls took all parameters.
  FsdpState(models::Module& module, const FullyShardOptions& options, std::shared_ptr<ParameterGroup> group)
      : module_(&module), options_(options), group_(std::move(group)) {}

  // *Local*. nullptr when fully_shard was not applied to this module itself.
  static FsdpState* Find(const models::Module& module);

  // *Local*. Once, right after construction; needs a shared_ptr to exist.
  void RegisterForwardHooks();

  ParameterGroup* group() const { return group_.get(); }

 private:
  // Shared by all states below one root; created by the first forward, which determines the root.
  struct Root {
    std::vector<std::weak_ptr<FsdpState>> states;  // pre-order, the root's first
    bool final_callback_queued = false;
  };

  // *Collective* like ParameterGroup's functions of the same names.
  at::Tensor PreForward(at::Tensor input);
  at::Tensor PostForward(at::Tensor output);
  void PreBackward();

  // RuntimeError: a state below is already a root. ValueError: a tied parameter is in two groups. Also throws what
  // ParameterGroup::LazyInit throws.
  void LazyInit();
  void InitAsRoot();
  void CollectStates();
  void NameParameters() const;
  void ValidateNoDuplicates() const;
  static void EndBackward(Root& root, void (ParameterGroup::*end)());  // of each group

  models::Module* module_;  // owns this
  FullyShardOptions options_;
  std::shared_ptr<ParameterGroup> group_;
  std::optional<bool> is_root_;  // nullopt until lazily initialized
  std::shared_ptr<Root> root_;
};

}  // namespace shardcts::reference
