#include "state_dict/state_dict.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "parameter/dtensor_parameter.h"
#include "state_dict/state_dict_values.h"

namespace shardcts::reference {
namespace {

class Saver {
 public:
  Saver(bool keep_vars, std::vector<std::string>& user_warnings)
      : keep_vars_(keep_vars), user_warnings_(user_warnings) {}

  void Save(models::Module& module, const std::string& prefix) {
    const size_t begin = saved_.size();
    auto* hooks = dynamic_cast<StateDictHooks*>(&module);
    if (!hooks) {
      SaveBelow(module, prefix);
      Rename(module, begin, prefix);
      return;
    }
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
    module.OnUserEvent(models::UserEvent::kSavePre, prefix);
    for (const auto& hook : module.pre_save_hooks()) hook();
    for (const auto& [name, parameter] : module.parameters()) saved_.emplace_back(prefix + name, Entry(*parameter));
    for (const auto& [name, buffer] : module.buffers()) {
      if (!module.IsPersistent(name)) continue;
      saved_.emplace_back(prefix + name, keep_vars_ ? buffer : buffer.detach());
    }
    if (module.HasExtraState()) {
      saved_.emplace_back(prefix + kExtraStateKey, StateEntryFrom(module.ExtraState()));
    }
    for (const auto& [name, child] : module.children()) {
      Save(*child, module.IsTransparent() ? prefix : prefix + name + ".");
    }
    module.OnUserEvent(models::UserEvent::kSavePost, prefix);
  }

  void Rename(const models::Module& module, size_t begin, const std::string& prefix) {
    for (const auto& [name, saved_name] : module.StateDictRenames()) {
      for (size_t i = begin; i < saved_.size(); ++i) {
        if (saved_[i].first != prefix + name) continue;
        saved_[i].first = prefix + saved_name;
        std::rotate(saved_.begin() + static_cast<int64_t>(i), saved_.begin() + static_cast<int64_t>(i) + 1, saved_.end());
        break;
      }
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
