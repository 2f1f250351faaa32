// The modules and parameters that a unit ignores. Everything here is *Local*. Semantics: _get_ignored_modules and
// _get_ignored_params in torch/distributed/fsdp/_init_utils.py, torch 2.13.
#pragma once

#include <set>

#include "fsdp/options.h"

namespace shardcts::reference {

class IgnoredStates {
 public:
  // The ignored modules with all modules below them except inner units, the modules that inner units ignore, and the
  // parameters of all of these. Such a parameter is also ignored in other modules that share it.
  IgnoredStates(models::Module& root, const FsdpOptions& options);
  bool Contains(const models::Module& module) const { return modules_.contains(&module); }
  bool Contains(const models::Parameter& parameter) const { return parameters_.contains(&parameter); }

 private:
  void AddModules(models::Module& ignored);

  std::set<const models::Module*> modules_;
  std::set<const models::Parameter*> parameters_;
};

}  // namespace shardcts::reference
