// NamedOptimizer: an optimizer whose state dicts have names instead of ids. Everything here is *Local*. Semantics:
// torch.distributed.optim._NamedOptimizer without a module, torch 2.13.
#pragma once

#include <string>

#include "optim/optimizer.h"

namespace shardcts::reference {

class NamedOptimizer : public Optimizer {
 public:
  // `names`: of the parameters of all groups, in order.
  NamedOptimizer(std::unique_ptr<UpdateRule> rule, std::vector<OptimizerGroup> groups, std::vector<std::string> names);

  // Matches by name and copies in place; parameters and groups that the state dict does not have do not change.
  // ValueError: no state yet; a parameter or a group with other entries or another number of them.
  void LoadStateDict(const Dict& state_dict) override;

  void CheckLoad(const Dict&) const override {}
  Key StateKey(int64_t id) const override { return names_.at(static_cast<size_t>(id)); }

 protected:
  // With names instead of ids; `params` is sorted and comes first.
  Dict Packed(const Dict& by_id) const override;

 private:
  std::vector<std::vector<std::string>> NamesByGroup() const;

  std::vector<std::string> names_;
};

}  // namespace shardcts::reference
