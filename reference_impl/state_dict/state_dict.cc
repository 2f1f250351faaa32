#include "state_dict/state_dict.h"

#include <ATen/ATen.h>

#include "parameter/dtensor_parameter.h"

namespace shardcts::reference {
namespace {

StateValue Detached(const models::Parameter& parameter) {
  const at::Tensor value = parameter.value.detach();
  const DTensorDistribution* distribution = FindDistribution(parameter);
  if (!distribution) return value;
  return WithDistribution(*distribution, value);
}

void Save(models::Module& module, const std::string& path, StateDict& into) {
  for (const auto& hook : module.pre_save_hooks()) hook();
  for (const auto& [name, parameter] : module.parameters()) {
    into.emplace_back(models::JoinName(path, name), Detached(*parameter));
  }
  for (const auto& [name, buffer] : module.buffers()) into.emplace_back(models::JoinName(path, name), buffer.detach());
  for (const auto& [name, child] : module.children()) Save(*child, models::JoinName(path, name), into);
}

}  // namespace

StateDict SaveStateDict(models::Module& root) {
  StateDict saved;
  Save(root, "", saved);
  return saved;
}

}  // namespace shardcts::reference
