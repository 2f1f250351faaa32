#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <functional>
#include <map>

#include "parameter/dtensor_parameter.h"
#include "parameter/flat_slice.h"
#include "state_dict/state_dict.h"
#include "state_dict/state_dict_values.h"
#include "tensor/copy_values.h"
#include "tensor/redistribute.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

constexpr char kMixedTensors[] =
    "aten.copy_.default got mixed torch.Tensor and DTensor, need to convert all torch.Tensor to DTensor before calling "
    "distributed operators!";

std::vector<int64_t> GlobalShape(const StateValue& value) {
  if (const auto* tensor = std::get_if<at::Tensor>(&value)) return tensor->sizes().vec();
  if (const auto* sharded = std::get_if<ShardedTensor>(&value)) return sharded->shape;
  if (const auto* whole = std::get_if<WholeTensor>(&value)) return whole->shape;
  return std::get<DTensor>(value).shape;
}

std::vector<int64_t> GlobalShape(const models::Parameter& parameter) {
  if (const FlatSliceDistribution* slice = FindFlatSlice(parameter)) return slice->shape;
  const DTensorDistribution* distribution = FindDistribution(parameter);
  return distribution ? distribution->shape : parameter.value.sizes().vec();
}

bool IsMeta(const StateValue& value) {
  if (const auto* tensor = std::get_if<at::Tensor>(&value)) return tensor->is_meta();
  const auto* distributed = std::get_if<DTensor>(&value);
  return distributed && distributed->local.is_meta();
}

std::string SizeText(const std::vector<int64_t>& shape) {
  std::string text;
  for (int64_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "torch.Size([" + text + "])";
}

// A string as Python's repr prints it.
std::string Repr(const std::string& text) {
  const bool double_quotes = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = double_quotes ? '"' : '\'';
  std::string repr(1, quote);
  for (const char c : text) {
    if (c == quote || c == '\\') repr += '\\';
    repr += c == '\n' ? "\\n" : std::string(1, c);
  }
  return repr + quote;
}

std::string QuotedKeys(const std::vector<std::string>& keys) {
  std::string text;
  for (const std::string& key : keys) text += (text.empty() ? "\"" : ", \"") + key + "\"";
  return text;
}

void CheckSameMesh(const DTensorDistribution& layout, const DTensor& given) {
  if (given.mesh->layout() == layout.mesh->layout()) return;
  throw SemanticError("RuntimeError", "Sharding propagation failed: the two DTensors are on different meshes, " +
                                          layout.mesh->layout().ToString() + " and " + given.mesh->layout().ToString());
}

// The part of `value` that belongs to a parameter of this distribution. If it has been written already, the result is
// `place`.
at::Tensor PartFor(const models::Distribution* target, const StateValue& value, const at::Tensor& place) {
  const auto* layout = dynamic_cast<const DTensorDistribution*>(target);
  if (const auto* whole = std::get_if<WholeTensor>(&value)) {
    return layout ? whole->fetch_part(*layout, place) : whole->fetch();
  }
  const auto* distributed = std::get_if<DTensor>(&value);
  if ((layout != nullptr) != (distributed != nullptr)) throw SemanticError("RuntimeError", kMixedTensors);
  if (!layout) return std::get<at::Tensor>(value);
  CheckSameMesh(*layout, *distributed);
  if (distributed->placements == layout->placements) return distributed->local;
  return Redistribute(*distributed, layout->placements).local;
}

void CopyInto(at::Tensor& target, const models::Distribution* distribution, const StateValue& value) {
  at::NoGradGuard no_grad;
  const at::Tensor place = target.detach();
  at::Tensor source = PartFor(distribution, value, place);
  if (source.is_same(place)) return;
  if (const auto* slice = dynamic_cast<const FlatSliceDistribution*>(distribution)) {
    if (target.numel() == 0) return;
    source = source.contiguous().view({-1}).narrow(0, slice->begin, target.numel()).view(target.sizes());
  }
  if (target.dim() == 0) source = source.reshape({});
  CopyValues(target, source);
}

// A unit has written the elements before the traversal reached this module.
bool IsWritten(const models::Parameter& parameter, const StateValue& entry) {
  const auto* tensor = std::get_if<at::Tensor>(&entry);
  return tensor && FindFlatSlice(parameter) && IsWrittenSlice(*tensor, parameter.value);
}

// The parameter that replaces `old`: the given tensor itself, not a copy of it.
// RuntimeError: a plain tensor for a DTensor.
models::ParameterPtr Replacement(const models::Parameter& old, const StateValue& value) {
  const bool requires_grad = old.value.requires_grad();
  const DTensorDistribution* layout = FindDistribution(old);
  if (layout && std::holds_alternative<at::Tensor>(value)) throw SemanticError("RuntimeError", kMixedTensors);
  const auto* whole = std::get_if<WholeTensor>(&value);
  if (whole && layout) {
    at::Tensor part = whole->fetch_part(*layout, {});
    // A view would keep the full tensor alive.
    if (part.storage().nbytes() != part.nbytes()) part = part.clone();
    return MakeDTensorParameter(WithDistribution(*layout, part), requires_grad);
  }
  if (const auto* distributed = std::get_if<DTensor>(&value)) {
    if (!layout) return MakeDTensorParameter(*distributed, requires_grad);
    CheckSameMesh(*layout, *distributed);
    return MakeDTensorParameter(Redistribute(*distributed, layout->placements), requires_grad);
  }
  at::Tensor plain = whole ? whole->fetch().detach() : std::get<at::Tensor>(value).detach();
  if (old.value.dim() == 0) plain = plain.reshape(at::IntArrayRef());
  plain.set_requires_grad(requires_grad);
  return std::make_shared<models::Parameter>(models::Parameter{plain, nullptr});
}

class Loader {
 public:
  Loader(const StateDict& state_dict, const LoadOptions& options) : options_(options) {
    for (const auto& [key, value] : state_dict) entries_.emplace(key, value);
    for (const auto& [key, value] : state_dict) keys_.push_back(key);
  }

  void Load(models::Module& module, const std::string& prefix) {
    RenameBack(module, prefix);
    auto* hooks = dynamic_cast<StateDictHooks*>(&module);
    if (!hooks) return LoadBelow(module, prefix);
    hooks->BeforeLoad(entries_, prefix, result_.user_warnings);
    hooks_around_.push_back(hooks);
    try {
      LoadBelow(module, prefix);
    } catch (...) {
      hooks->AfterLoad();
      throw;
    }
    hooks_around_.pop_back();
    hooks->AfterLoad();
  }

  // Names that were one parameter are one afterwards, also those that the state dict lacks.
  void TieAgain(models::Module& root) {
    for (const auto& [path, module] : models::NamedModules(root)) {
      for (auto& [name, slot] : module->parameters()) {
        const auto known = replaced_.find(slot);
        if (known != replaced_.end()) slot = known->second;
      }
    }
  }

  LoadResult Finish(const std::string& root_name) {
    std::vector<std::string> errors;
    if (options_.strict && !result_.missing_keys.empty()) {
      errors.push_back("Missing key(s) in state_dict: " + QuotedKeys(result_.missing_keys) + ". ");
    }
    if (options_.strict && !result_.unexpected_keys.empty()) {
      errors.push_back("Unexpected key(s) in state_dict: " + QuotedKeys(result_.unexpected_keys) + ". ");
    }
    errors.insert(errors.end(), errors_.begin(), errors_.end());
    if (errors.empty()) return std::move(result_);
    std::string message = "Error(s) in loading state_dict for " + root_name + ":";
    for (const std::string& error : errors) message += "\n\t" + error;
    throw SemanticError("RuntimeError", message);
  }

 private:
  void LoadBelow(models::Module& module, const std::string& prefix) {
    module.OnUserEvent(models::UserEvent::kLoadPre, prefix);
    for (const auto& hook : module.pre_load_hooks()) hook();
    for (auto& [name, parameter] : module.parameters()) LoadParameter(prefix + name, parameter);
    for (auto& [name, buffer] : module.buffers()) {
      if (module.IsPersistent(name)) LoadBuffer(prefix + name, buffer);
    }
    if (module.HasExtraState()) LoadExtraState(prefix + kExtraStateKey, module);
    if (!module.IsTransparent()) CollectUnexpected(module, prefix);
    for (const auto& [name, child] : module.children()) {
      Load(*child, module.IsTransparent() ? prefix : prefix + name + ".");
    }
    for (const auto& hook : module.post_load_hooks()) hook();
    module.OnUserEvent(models::UserEvent::kLoadPost, "");
  }

  void RenameBack(const models::Module& module, const std::string& prefix) {
    for (const auto& [name, saved_name] : module.StateDictRenames()) {
      auto entry = entries_.extract(prefix + saved_name);
      if (entry.empty()) continue;
      entry.key() = prefix + name;
      std::ranges::replace(keys_, prefix + saved_name, prefix + name);
      entries_.insert_or_assign(entry.key(), std::move(entry.mapped()));
    }
  }

  void LoadExtraState(const std::string& key, models::Module& module) {
    const auto found = entries_.find(key);
    if (found == entries_.end()) {
      result_.missing_keys.push_back(key);
      return;
    }
    try {
      module.SetExtraState(StateEntryValue(found->second));
    } catch (const std::exception& error) {  // reported with all other errors, so that no rank stops before its peers
      errors_.push_back("While setting the extra state \"" + key + "\": " + error.what());
    }
  }

  // The entry for this key, if it can be loaded into a target of this shape; otherwise records the error.
  const StateValue* FindEntry(const std::string& key, const std::vector<int64_t>& shape) {
    const auto found = entries_.find(key);
    if (found == entries_.end()) {
      result_.missing_keys.push_back(key);
      return nullptr;
    }
    if (const auto* other = std::get_if<NotATensor>(&found->second)) {
      if (!other->refusal.empty()) {
        errors_.push_back(other->refusal);
        return nullptr;
      }
      errors_.push_back("While copying the parameter named \"" + key +
                        "\", expected torch.Tensor or Tensor-like object from checkpoint but received <class '" +
                        other->type_name + "'>");
      return nullptr;
    }
    const std::vector<int64_t> given = GlobalShape(found->second);
    const bool is_old_scalar = shape.empty() && given == std::vector<int64_t>{1};
    if (given != shape && !is_old_scalar) {
      errors_.push_back("size mismatch for " + key + ": copying a param with shape " + SizeText(given) +
                        " from checkpoint, the shape in current model is " + SizeText(shape) + ".");
      return nullptr;
    }
    return &found->second;
  }

  void LoadParameter(const std::string& key, models::ParameterPtr& slot) {
    const std::vector<int64_t> shape = GlobalShape(*slot);
    const StateValue* entry = FindEntry(key, shape);
    if (!entry || IsWritten(*slot, *entry)) return;
    const auto known = replaced_.find(slot);
    if (known != replaced_.end()) slot = known->second;
    if (known == replaced_.end() && Replaces(slot->value) && !IsKept(*slot)) {
      const models::ParameterPtr old = slot;
      Record(key, shape, *entry, FailureOf([&] { slot = Replacement(*old, *entry); }));
      if (options_.keep_ties && slot != old) replaced_.emplace(old, slot);
    } else {
      Copy(key, shape, "Parameter", slot->value, slot->distribution.get(), *entry);
    }
  }

  bool Replaces(const at::Tensor& present) const {
    return options_.assign || (options_.assign_meta && present.is_meta());
  }

  bool IsKept(const models::Parameter& parameter) const {
    return std::ranges::any_of(hooks_around_, [&](const StateDictHooks* hooks) { return hooks->Keeps(parameter); });
  }

  void LoadBuffer(const std::string& key, at::Tensor& buffer) {
    const StateValue* entry = FindEntry(key, buffer.sizes().vec());
    if (!entry) return;
    if (Replaces(buffer) && std::holds_alternative<at::Tensor>(*entry)) {
      const at::Tensor& given = std::get<at::Tensor>(*entry);
      buffer = buffer.dim() == 0 ? given.reshape(at::IntArrayRef()) : given;
    } else if (const auto* whole = std::get_if<WholeTensor>(entry); Replaces(buffer) && whole) {
      buffer = whole->fetch().detach();
    } else {
      Copy(key, buffer.sizes().vec(), "Tensor", buffer, nullptr, *entry);
    }
  }

  // `type`: the type of the target in PyTorch.
  void Copy(const std::string& key, const std::vector<int64_t>& shape, const std::string& type, at::Tensor& target,
            const models::Distribution* distribution, const StateValue& entry) {
    if (target.is_meta() && !IsMeta(entry)) {
      result_.user_warnings.push_back(
          "for " + key +
          ": copying from a non-meta parameter in the checkpoint to a meta parameter in the current model, which is a "
          "no-op. (Did you mean to pass `assign=True` to assign items in the state dictionary to their corresponding "
          "key in the module instead of copying them in place?)");
    }
    // A failed copy is reported with all other errors, after the rest has been loaded.
    const std::string failure = std::holds_alternative<ShardedTensor>(entry)
                                    ? "'" + type + "' object has no attribute 'local_shards'"
                                    : FailureOf([&] { CopyInto(target, distribution, entry); });
    Record(key, shape, entry, failure);
  }

  // `failure`: its text; empty: none.
  void Record(const std::string& key, const std::vector<int64_t>& shape, const StateValue& entry,
              const std::string& failure) {
    if (failure.empty()) return;
    errors_.push_back("While copying the parameter named \"" + key + "\", whose dimensions in the model are " +
                      SizeText(shape) + " and whose dimensions in the checkpoint are " + SizeText(GlobalShape(entry)) +
                      ", an exception occurred : (" + Repr(failure) + ",).");
  }

  // PyTorch catches exceptions of copy_ and continues with the next key; so must this.
  static std::string FailureOf(const std::function<void()>& copy) {
    try {
      copy();
      return "";
    } catch (const SemanticError& error) {
      return error.what();
    } catch (const c10::Error& error) {
      return error.what_without_backtrace();
    }
  }

  // Keys below `prefix` that belong neither to a member nor to a child of `module`.
  void CollectUnexpected(const models::Module& module, const std::string& prefix) {
    for (const std::string& key : keys_) {
      if (key.compare(0, prefix.size(), prefix) != 0) continue;
      const std::string rest = key.substr(prefix.size());
      const size_t dot = rest.find('.');
      if (!Knows(module, rest.substr(0, dot), dot == std::string::npos)) result_.unexpected_keys.push_back(key);
    }
  }

  static bool Knows(const models::Module& module, const std::string& name, bool is_member) {
    const auto has_name = [&](const auto& named) {
      for (const auto& [other, ignored] : named) {
        if (other == name) return true;
      }
      return false;
    };
    if (!is_member) return has_name(module.children());
    if (name == kExtraStateKey && module.HasExtraState()) return true;
    return has_name(module.parameters()) || (has_name(module.buffers()) && module.IsPersistent(name));
  }

  LoadOptions options_;
  std::map<models::ParameterPtr, models::ParameterPtr> replaced_;  // by those that were there, if ties are kept
  std::vector<const StateDictHooks*> hooks_around_;  // around the module that is being loaded, outermost first
  std::map<std::string, StateValue> entries_;
  std::vector<std::string> keys_;  // in the order of the state dict
  std::vector<std::string> errors_;
  LoadResult result_;
};

}  // namespace

at::Tensor PartOf(const at::Tensor& whole, const DTensorDistribution& layout) {
  const std::vector<Placement> replicated(layout.placements.size());
  return Redistribute(MakeDTensor(whole, layout.mesh, replicated, layout.shape), layout.placements).local;
}

LoadResult LoadStateDict(models::Module& root, const StateDict& state_dict, const LoadOptions& options) {
  Loader loader(state_dict, options);
  loader.Load(root, "");
  loader.TieAgain(root);
  return loader.Finish(root.type_name());
}

}  // namespace shardcts::reference
