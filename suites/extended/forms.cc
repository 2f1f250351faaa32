#include "suites/extended/forms.h"

#include <fmt/format.h>

#include <map>

#include "rank/session.h"

namespace shardcts::extended {
namespace {

bool IsDsd(std::string_view form) { return form.starts_with("dsd_"); }

[[noreturn]] void NoForm(std::string_view form) { throw HarnessError(fmt::format("no form \"{}\" here", form)); }

StateDictKind KindOf(std::string_view form) {
  if (form == "full") return StateDictKind::kFull;
  if (form == "sharded") return StateDictKind::kSharded;
  if (form == "local") return StateDictKind::kLocal;
  NoForm(form);
}

const Optimizer& OnlyOne(const std::vector<Optimizer>& optimizers, std::string_view form) {
  if (optimizers.size() != 1) throw HarnessError(fmt::format("{} optimizers in form {}", optimizers.size(), form));
  return optimizers.front();
}

}  // namespace

StateDictOptions SaveOptionsOf(std::string_view form) {
  if (form == "dsd_sharded") return {};
  if (form == "dsd_full") return {.full_state_dict = true};
  if (form == "dsd_offload" || form == "dsd_broadcast") return {.full_state_dict = true, .cpu_offload = true};
  if (form == "dsd_flat") return {.flatten_optimizer_state_dict = true};
  NoForm(form);
}

StateDictOptions LoadOptionsOf(std::string_view form) {
  if (form == "dsd_broadcast") return {.full_state_dict = true, .broadcast_from_rank0 = true};
  return SaveOptionsOf(form);
}

Dict GetState(Model& model, std::string_view form) {
  if (IsDsd(form)) return GetModelStateDict(model, SaveOptionsOf(form));
  if (form == "native") return model.StateDict();
  Dict state;
  WithStateDictType(model, KindOf(form), [&] { state = model.StateDict(); });
  return state;
}

LoadResult SetState(Model& model, std::string_view form, const Dict& state, const LoadOptions& load) {
  if (IsDsd(form)) {
    if (load.assign) throw HarnessError(fmt::format("form {} with assign", form));
    StateDictOptions options = LoadOptionsOf(form);
    options.strict = load.strict;
    return SetModelStateDict(model, state, options);
  }
  if (form == "native") return model.LoadStateDict(state, load);
  LoadResult result;
  WithStateDictType(model, KindOf(form), [&] { result = model.LoadStateDict(state, load); });
  return result;
}

Dict GetOptimizerState(Model& model, const std::vector<Optimizer>& optimizers, std::string_view form) {
  if (IsDsd(form)) return GetOptimizerStateDict(model, optimizers, SaveOptionsOf(form));
  Optimizer optimizer = OnlyOne(optimizers, form);
  if (form == "native") return optimizer.StateDict();
  Dict state;
  WithStateDictType(model, KindOf(form), [&] { state = OptimStateDict(model, optimizer); });
  return state;
}

Dict ConvertedOptimizerState(Model& model, const Optimizer& optimizer, std::string_view form, const Dict& state) {
  Dict converted;
  WithStateDictType(model, KindOf(form), [&] { converted = OptimStateDictToLoad(model, optimizer, state); });
  return converted;
}

void SetOptimizerState(Model& model, const std::vector<Optimizer>& optimizers, std::string_view form,
                       const Dict& state, bool strict) {
  if (IsDsd(form)) {
    StateDictOptions options = LoadOptionsOf(form);
    options.strict = strict;
    return SetOptimizerStateDict(model, optimizers, state, options);
  }
  if (!strict) throw HarnessError(fmt::format("form {} is always strict", form));
  Optimizer optimizer = OnlyOne(optimizers, form);
  if (form == "native") return optimizer.LoadStateDict(state);
  WithStateDictType(model, KindOf(form), [&] { OptimStateDictToLoad(model, optimizer, state, {.load_directly = true}); });
}

}  // namespace shardcts::extended
