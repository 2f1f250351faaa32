// Units, scopes, state-dict types, groups.
#include "fsdp/summon.h"
#include "operations/fsdp_options.h"
#include "operations/handlers.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

Value NewGroup(const Call& call) {
  Communicator& world = *call.session.context.communicator;
  const std::vector<int64_t> ranks = call.Get("ranks").AsInts();
  int color = -1;
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (ranks[i] < 0 || ranks[i] >= world.size() || std::count(ranks.begin(), ranks.end(), ranks[i]) > 1) {
      throw SemanticError("ValueError", "ranks of a group must be different ranks of the world");
    }
    if (ranks[i] == world.rank()) color = 0;
  }
  return call.session.group_handles.Add(world.Split(color, world.rank()));
}

Value SummonFullParams(const Call& call) {
  const SummonOptions options{.recurse = call.Flag("recurse", true),
                              .writeback = call.Flag("writeback", true),
                              .rank0_only = call.Flag("rank0_only", false),
                              .offload_to_cpu = call.Flag("offload_to_cpu", false),
                              .with_grads = call.Flag("with_grads", false)};
  return call.session.Enter<SummonScope>(call.ModelPtr(), options);
}

void WarnOfStateDictType(const Call& call) {
  call.warnings.push_back({"FutureWarning",
                           "FSDP.state_dict_type() and FSDP.set_state_dict_type() are being deprecated: get_state_dict() "
                           "and set_state_dict() take any wrapper."});
}

Value EnterStateDictType(const Call& call) {
  WarnOfStateDictType(call);
  return call.session.Enter<StateDictTypeScope>(call.ModelPtr(), ReadStateDictSettings(call));
}

Value SetType(const Call& call) {
  WarnOfStateDictType(call);
  const std::optional<StateDictSettings> previous = SetStateDictType(call.Model(), ReadStateDictSettings(call));
  return SettingsValue(previous.value_or(StateDictSettings{}));
}

Value GetType(const Call& call) { return SettingsValue(GetStateDictType(call.Model()).value_or(StateDictSettings{})); }

Value ExitScope(const Call& call) {
  const Handle& handle = call.Get("scope").AsHandle();
  const std::shared_ptr<Scope> scope = call.session.scope_handles.Get(handle);
  call.session.scope_handles.Remove(handle);
  scope->Exit(call.Flag("raised", false));
  return {};
}

Value FlatParameterValue(const FlatParameter& flat) {
  List fqns;
  List shapes;
  List shared;
  int64_t numel = 0;
  for (const FlatParameter::Slot& slot : flat.primary_slots()) {
    fqns.push_back(slot.fqn);
    shapes.push_back(ToValue(flat.shape(slot.parameter)));
    numel += flat.layout().parameters[slot.parameter].numel;
  }
  for (const FlatParameter::Slot& slot : flat.shared_slots()) {
    shared.push_back(List{slot.fqn, flat.primary_slots()[slot.parameter].fqn});
  }
  return Dict{{"fqns", fqns},
              {"shapes", shapes},
              {"numel", numel},
              {"padded_numel", flat.layout().PaddedNumel()},
              {"local_numel", flat.layout().ShardNumel()},
              {"local_padding", flat.layout().PaddingOf(flat.rank())},
              {"shared", shared}};
}

Value Units(const Call& call) {
  List units;
  for (const auto& [path, module] : models::NamedModules(call.Model())) {
    const auto* unit = dynamic_cast<FsdpModule*>(module);
    if (!unit) continue;
    const Communicator& group = *unit->options().shard_group;
    units.push_back(Dict{{"path", path},
                         {"type", NameOf(unit->settings().type)},
                         {"config", ConfigValue(unit->settings().config)},
                         {"sharding_strategy", NameOf(unit->options().strategy)},
                         {"use_orig_params", unit->options().use_orig_params},
                         {"rank", static_cast<int64_t>(group.rank())},
                         {"world_size", static_cast<int64_t>(group.size())},
                         {"flat_parameter", unit->flat() ? FlatParameterValue(*unit->flat()) : Value()}});
  }
  return units;
}

}  // namespace

void AddFsdpHandlers(HandlerTable& table) {
  table["group.new"] = NewGroup;
  table["fsdp.summon_full_params"] = SummonFullParams;
  table["fsdp.state_dict_type"] = EnterStateDictType;
  table["fsdp.set_state_dict_type"] = SetType;
  table["fsdp.get_state_dict_type"] = GetType;
  table["scope.exit"] = ExitScope;
  table["fsdp.units"] = Units;
}

}  // namespace shardcts::reference
