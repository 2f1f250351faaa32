#include "state_dict/state_dict.h"

#include <ATen/ATen.h>

#include "parameter/dtensor_parameter.h"

namespace shardcts::reference {
namespace {

class Saver {
 public:
  Saver(bool keep_vars, std::vector<std::string>& user_warnings)
      : keep_vars_(keep_vars), user_warnings_(user_warnings) {}

  void Save(models::Module& module, const std::string& prefix) {
    auto* hooks = dynamic_cast<StateDictHooks*>(&module);
    if (!hooks) return SaveBelow(module, prefix);
    const size_t begin = saved_.size();
    hooks->BeforeSave(user_warnings_);
    try {
      SaveBelow(module, prefix);
      hooks->AfterSave(saved_, begin, prefix);
    } catch (...) {
      hooks->CancelSave();
      throw;
    }
  }

  StateDict Finish() { return std::move(saved_); }

 private:
  void SaveBelow(models::Module& module, const std::string& prefix) {
    for (const auto& hook : module.pre_save_hooks()) hook();
    for (const auto& [name, parameter] : module.parameters()) saved_.emplace_back(prefix + name, Entry(*parameter));
    for (const auto& [name, buffer] : module.buffers()) {
      if (!module.IsPersistent(name)) continue;
      saved_.emplace_back(prefix + name, keep_vars_ ? buffer : buffer.detach());
    }
    for (const auto& [name, child] : module.children()) {
      Save(*child, module.IsTransparent() ? prefix : prefix + name + ".");
    }
  }

  StateValue Entry(const models::Parameter& parameter) const {
    const at::Tensor value = keep_vars_ ? parameter.value : parameter.value.detach();
    const DTensorDistribution* distribution = FindDistribution(parameter);
    if (!distribution) return value;
    return WithDistribution(*distribution, value);
  }

  bool keep_vars_;
  std::vector<std::string>& user_warnings_;
  StateDict saved_;
};

}  // namespace

StateDict SaveStateDict(models::Module& root, const SaveOptions& options, std::vector<std::string>* user_warnings) {
  std::vector<std::string> unheard;
  Saver saver(options.keep_vars, user_warnings ? *user_warnings : unheard);
  saver.Save(root, options.prefix);
  return saver.Finish();
}

}  // namespace shardcts::reference
