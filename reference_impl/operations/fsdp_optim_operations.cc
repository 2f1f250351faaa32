// Optimizer state of FSDP1: by original parameter names, and back.
#include "dsd/optimizer_state.h"
#include "fsdp_optim/load_optim_state.h"
#include "fsdp_optim/rekey.h"
#include "fsdp_optim/save_optim_state.h"
#include "fsdp_optim/state_entries.h"
#include "operations/handlers.h"
#include "operations/module_paths.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

void WarnDeprecated(const Call& call, const std::string& name, const std::string& instead) {
  call.warnings.push_back({"FutureWarning", "FullyShardedDataParallel." + name +
                                                " is deprecated: use FullyShardedDataParallel." + instead});
}

void WarnUser(const Call& call, const std::vector<std::string>& texts) {
  for (const std::string& text : texts) call.warnings.push_back({"UserWarning", text});
}

// Names, or groups of names.
std::vector<models::ParameterPtr> ReadOptimInput(const Call& call, const List& given) {
  std::vector<models::ParameterPtr> parameters;
  for (const Value& entry : given) {
    if (entry.type() != given.front().type()) {
      throw SemanticError("TypeError", "Optimizer input should be an iterable of Tensors or dicts");
    }
    if (entry.type() == Value::Type::kString) {
      parameters.push_back(ParameterNamed(call.Model(), entry.AsString()));
      continue;
    }
    for (const std::string& name : entry.AsDict().At("parameters").AsStrings()) {
      parameters.push_back(ParameterNamed(call.Model(), name));
    }
  }
  return parameters;
}

// The arguments "optimizer" and "optim_input", as far as they are there.
OptimizerInput ReadInput(const Call& call) {
  OptimizerInput input;
  if (call.Find("optimizer")) input.optimizer = &call.TheOptimizer();
  if (const Value* given = call.Find("optim_input")) {
    call.warnings.push_back({"FutureWarning", "The `optim_input` argument is deprecated: the optimizer is enough"});
    input.parameters = ReadOptimInput(call, given->AsList());
  }
  return input;
}

Value SaveAs(const Call& call, const SaveOptimOptions& options) {
  const Value* given = call.Find("state_dict");
  const Dict state_dict = given ? given->AsDict() : GetPlacedStateDict(call.TheOptimizer());
  std::vector<std::string> user_warnings;
  Dict saved = SaveOptimState(call.Model(), ReadInput(call), state_dict, call.GroupOrWorld(), options, user_warnings);
  WarnUser(call, user_warnings);
  return saved;
}

Dict LoadAs(const Call& call, const LoadOptimOptions& options) {
  const Value* given = call.Find("state_dict");
  std::vector<std::string> user_warnings;
  Dict loaded = OptimStateToLoad(call.Model(), ReadInput(call), given ? &given->AsDict() : nullptr, call.GroupOrWorld(),
                                 options, user_warnings);
  WarnUser(call, user_warnings);
  return loaded;
}

Value OptimStateDictOf(const Call& call) {
  const StateDictSettings settings = GetStateDictType(call.Model()).value_or(StateDictSettings{});
  return SaveAs(call, {.rank0_only = settings.optim_config.rank0_only,
                       .shard_state = settings.type != StateDictType::kFull,
                       .offload_to_cpu = settings.optim_config.offload_to_cpu});
}

Value SaveFull(const Call& call) {
  WarnDeprecated(call, "full_optim_state_dict", "optim_state_dict");
  return SaveAs(call, {.rank0_only = call.Flag("rank0_only", true)});
}

Value SaveSharded(const Call& call) {
  WarnDeprecated(call, "sharded_optim_state_dict", "optim_state_dict");
  return SaveAs(call, {.shard_state = true});
}

Value ToLoad(const Call& call) {
  const StateDictSettings settings = GetStateDictType(call.Model()).value_or(StateDictSettings{});
  const Dict loaded = LoadAs(call, {.rank0_only = settings.optim_config.rank0_only,
                                    .is_named_optimizer = call.Flag("is_named_optimizer", false)});
  if (call.Flag("load_directly", false)) {
    const Value* given = call.Find("state_dict");
    SetPlacedStateDict(call.TheOptimizer(), WithoutStorageOf(given ? *given : Value(), loaded).AsDict(),
                       {nullptr, call.session.meshes, call.warnings});
  }
  return loaded;
}

Value ShardFull(const Call& call) {
  WarnDeprecated(call, "shard_full_optim_state_dict", "optim_state_dict_to_load");
  return LoadAs(call, {});
}

Value FlattenSharded(const Call& call) {
  WarnDeprecated(call, "flatten_sharded_optim_state_dict", "optim_state_dict_to_load");
  return LoadAs(call, {});
}

Value ScatterFull(const Call& call) {
  WarnDeprecated(call, "scatter_full_optim_state_dict", "optim_state_dict_to_load");
  return LoadAs(call, {.rank0_only = true});
}

Value Rekey(const Call& call) {
  const std::string& type = call.Get("key_type").AsString();
  const OptimizerKeys ids = KeysOf(ReadInput(call), call.Model(), /*named=*/false);
  return RekeyOptimState(call.Get("state_dict").AsDict(),
                         type == "PARAM_ID" ? OptimStateKeyType::kParameterId : OptimStateKeyType::kParameterName,
                         call.Model(), ids);
}

}  // namespace

void AddFsdpOptimHandlers(HandlerTable& table) {
  table["fsdp.optim_state_dict"] = OptimStateDictOf;
  table["fsdp.optim_state_dict_to_load"] = ToLoad;
  table["fsdp.full_optim_state_dict"] = SaveFull;
  table["fsdp.sharded_optim_state_dict"] = SaveSharded;
  table["fsdp.shard_full_optim_state_dict"] = ShardFull;
  table["fsdp.scatter_full_optim_state_dict"] = ScatterFull;
  table["fsdp.flatten_sharded_optim_state_dict"] = FlattenSharded;
  table["fsdp.rekey_optim_state_dict"] = Rekey;
}

}  // namespace shardcts::reference
