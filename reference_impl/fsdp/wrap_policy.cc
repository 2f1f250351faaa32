#include "fsdp/wrap_policy.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <set>

#include "fsdp/wrap.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

bool Contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool IsBatchNorm(const models::Module& module) { return module.class_name().starts_with("BatchNorm"); }

// Modules that must be units even if the policy does not select them.
bool OverridesMixedPrecision(const models::Module& module, const FsdpOptions& options) {
  const FsdpMixedPrecision& policy = options.mixed_precision;
  return (policy.param_dtype || policy.reduce_dtype || policy.buffer_dtype) && IsBatchNorm(module);
}

class AutoWrapper {
 public:
  AutoWrapper(models::Module& root, const FsdpOptions& options, const IgnoredStates& ignored,
              std::vector<std::string>& user_warnings)
      : root_(root),
        policy_(*options.auto_wrap_policy),
        options_(options),
        ignored_(ignored),
        user_warnings_(user_warnings) {
    options_.auto_wrap_policy.reset();
    for (const auto& [path, module] : models::NamedModules(root)) paths_.try_emplace(module, path);
  }

  // Wraps modules below `module`, whose parameters have `numel` elements; returns how many of them are in units now.
  int64_t WrapBelow(models::Module& module) {
    int64_t wrapped = 0;
    const std::vector<models::Named<models::ModulePtr>> children = module.children();
    std::set<const models::Module*> seen;
    for (const auto& [name, child] : children) {  // which may have become a unit below one before it
      if (!ignored_.Contains(*child) && seen.insert(child.get()).second) wrapped += WrapChild(module.child(name));
    }
    return wrapped;
  }

 private:
  int64_t WrapChild(models::ModulePtr child) {
    const int64_t numel = NumelOf(*child);
    if (dynamic_cast<const FsdpModule*>(child.get())) return numel;  // made under another path
    if (!Recurses(*child, numel)) return 0;
    const int64_t wrapped_below = WrapBelow(*child);
    const bool overridden = OverridesMixedPrecision(*child, options_);
    if (!overridden && !Wraps(*child, numel - wrapped_below)) return wrapped_below;
    FsdpOptions options = options_;
    if (overridden) options.mixed_precision = {};
    models::ReplaceEverywhere(root_, child, WrapFsdp(child, options, user_warnings_));
    return numel;
  }

  int64_t NumelOf(models::Module& module) const {
    int64_t numel = 0;
    for (const auto& [name, parameter] : models::NamedParameters(module)) {
      if (!ignored_.Contains(*parameter)) numel += parameter->value.numel();
    }
    return numel;
  }

  bool Recurses(const models::Module& module, int64_t numel) const {
    if (policy_.kind != AutoWrapPolicy::Kind::kSizeBased) return true;
    return numel >= policy_.min_num_params && module.class_name() != "MultiheadAttention";
  }

  bool Wraps(const models::Module& module, int64_t numel_left) const {
    switch (policy_.kind) {
      case AutoWrapPolicy::Kind::kModuleClasses: return Contains(policy_.names, module.class_name());
      case AutoWrapPolicy::Kind::kAlways: return true;
      case AutoWrapPolicy::Kind::kSizeBased:
        return numel_left >= policy_.min_num_params && module.class_name() != "ModuleList" &&
               module.class_name() != "ModuleDict";
      case AutoWrapPolicy::Kind::kLambda: return Contains(policy_.names, paths_.at(&module));
    }
    return false;
  }

  models::Module& root_;
  AutoWrapPolicy policy_;
  FsdpOptions options_;
  const IgnoredStates& ignored_;
  std::vector<std::string>& user_warnings_;
  std::map<const models::Module*, std::string> paths_;
};

}  // namespace

void ApplyAutoWrapPolicy(models::Module& root, const FsdpOptions& options, const IgnoredStates& ignored,
                         std::vector<std::string>& user_warnings) {
  for (const auto& [path, module] : models::NamedModules(root)) {
    if (!dynamic_cast<FsdpModule*>(module)) continue;
    throw SemanticError("ValueError",
                        "FSDP auto wrapping requires modules to not already have FSDP applied but found " + path +
                            " in\n" + root.type_name());
  }
  AutoWrapper(root, options, ignored, user_warnings).WrapBelow(root);
}

}  // namespace shardcts::reference
