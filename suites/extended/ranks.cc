// Ranks and groups: groups of some ranks, and ranks that differ.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include "contract/fsdp.h"
#include "contract/fsdp_optim.h"
#include "contract/transport.h"
#include "suites/extended/coded.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/optimizer_state.h"
#include "suites/extended/refusals.h"
#include "suites/extended/replicas.h"
#include "suites/extended/rule.h"
#include "suites/extended/training.h"
#include "suites/extended/trees.h"
#include "suites/extended/twin.h"

namespace shardcts::extended {
namespace {

// Two models at a time, one for each half of the ranks, with values and moments of their own.
struct HalfModel {
  Model model;
  Optimizer optimizer;
  int64_t half;
  bool is_first;  // this rank, of its half
  Dict values;    // whole
  Dict state;     // whole
  std::optional<ProcessGroup> group;  // FSDP1
};

constexpr int64_t kBetweenHalves = int64_t{1} << 18;

Dict StateOfHalf(const Dict& parameters, int64_t half) {
  Dict state_dict = CodedAdamStateDict(parameters);
  for (auto& [name, state] : state_dict.Find("state")->AsDict()) {
    for (auto& [moment, value] : state.AsDict()) {
      if (value.AsTensor().dim() > 0) value = value.AsTensor().add(static_cast<double>(half * kBetweenHalves));
    }
  }
  return state_dict;
}

HalfModel BuildHalf(Trial& t, const std::string& wrapper, Halves halves) {
  const std::vector<int64_t> ranks = RanksOfHalf(t, halves);
  const int64_t half = ranks.front() == 0 ? 0 : 1;
  const ModelSpec spec = TrainedStack();
  Model model = BuildCoded(t, spec);
  const Dict values = CodedLike(model.Parameters(), half * kBetweenHalves);
  model.SetValues(values);
  const std::optional<ProcessGroup> group = WrapInHalves(t, model, spec, wrapper, halves);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  return {model, optimizer, half, t.rank() == ranks.front(), values, StateOfHalf(values, half), group};
}

void HasState(Trial& t, std::string_view what, const Dict& expected, const Dict& actual) {
  t.Rule(SameValue(what, expected.At("state"), InOrderOf(expected.At("state"), actual.At("state"))));
}

struct Trained {
  Dict parameters;
  Dict state;
};

constexpr int64_t kStepsToASave = 2;
constexpr int64_t kStepsInAll = 4;

// Two steps, a save, a load into a model that has other values, two more steps.
Trained TrainAndLoad(Trial& t) {
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  const BatchPart part = PartOf(t, wrapper);
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  Train(t, model, {optimizer}, 0, kStepsToASave, part);
  const Dict values = t.subject().Clone(GetState(model, form)).AsDict();
  const Dict state = t.subject().Clone(GetOptimizerState(model, {optimizer}, form)).AsDict();
  model.Fill(-1);
  SetState(model, form, values);
  SetOptimizerState(model, {optimizer}, form, state);
  Train(t, model, {optimizer}, kStepsToASave, kStepsInAll, part);
  return {TrainedParameters(model, wrapper), TrainedState(model, optimizer, wrapper)};
}

}  // namespace

RULE(RK1) {
  HalfModel mine = BuildHalf(t, t.TextParam("wrapper"), Halves::kBlocks);
  SetOptimizerState(mine.model, {mine.optimizer}, "dsd_full", mine.state);
  const Dict values = GetState(mine.model, "dsd_offload");
  const Dict state = GetOptimizerState(mine.model, {mine.optimizer}, "dsd_offload");
  if (!mine.is_first) {
    t.Rule(Equal<size_t>("entries on a rank that is not the first of its group", 0, values.size()));
    return;
  }
  SameState(t, "the whole dict on the group's first rank", mine.values, values);
  if (t.Rule(Holds(state.Contains("state"), "the optimizer's dict on the group's first rank", "has no state"))) {
    HasState(t, "the optimizer's state there", mine.state, state);
  }
}

RULE(RK2) {
  HalfModel mine = BuildHalf(t, t.TextParam("wrapper"), Halves::kBlocks);
  const Dict before = t.subject().Clone(mine.values).AsDict();
  mine.model.Fill(-1);
  SetState(mine.model, "dsd_broadcast", mine.is_first ? mine.values : Dict{});
  SetOptimizerState(mine.model, {mine.optimizer}, "dsd_broadcast", mine.is_first ? mine.state : Dict{});
  SameState(t, "what the group's first rank broadcast", before, GetState(mine.model, "dsd_full"));
  HasState(t, "the state that it broadcast", mine.state, GetOptimizerState(mine.model, {mine.optimizer}, "dsd_full"));
}

RULE(RK3) {
  HalfModel mine = BuildHalf(t, t.TextParam("wrapper"), Halves::kInterleaved);
  const StateDictConfig config = {.rank0_only = true, .optim = OptimStateDictConfig{.rank0_only = true}};
  SetOptimizerState(mine.model, {mine.optimizer}, "full", mine.state);
  Dict values, state;
  WithStateDictType(mine.model, StateDictKind::kFull, config, [&] {
    values = mine.model.StateDict();
    state = OptimStateDict(mine.model, mine.optimizer, {.group = mine.group});
  });
  if (!mine.is_first) {
    t.Rule(Equal<size_t>("entries on a rank that is not the first of its group", 0, values.size()));
    t.Rule(Equal<size_t>("optimizer entries there", 0, state.size()));
    return;
  }
  SameState(t, "FULL on the group's first rank", mine.values, values);
  HasState(t, "the optimizer's state there", mine.state, state);
}

RULE(RK4) {
  const std::string form = t.TextParam("form");
  HalfModel mine = BuildHalf(t, t.TextParam("wrapper"), Halves::kInterleaved);
  const std::string whole = form.starts_with("dsd_") ? "dsd_full" : "full";
  SetOptimizerState(mine.model, {mine.optimizer}, whole, mine.state);
  const Dict values = t.subject().Clone(GetState(mine.model, form)).AsDict();
  const Dict state = t.subject().Clone(GetOptimizerState(mine.model, {mine.optimizer}, form)).AsDict();
  mine.model.Fill(-1);
  SetState(mine.model, form, values);
  SetOptimizerState(mine.model, {mine.optimizer}, form, state);
  SameState(t, "values of this group's model", mine.values, GetState(mine.model, whole));
  HasState(t, "state of this group's optimizer", mine.state,
           GetOptimizerState(mine.model, {mine.optimizer}, whole));
}

RULE(RK5) {
  const ModelSpec spec = TrainedStack();
  const Dict values = Twin(spec).StateDict();
  Model model = BuildCoded(t, spec);
  model.Fill(-1);
  Wrap(t, model, spec, t.TextParam("wrapper"));
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  const bool gives = t.rank() == 0;
  SetState(model, "dsd_broadcast", gives ? values : Dict{});
  SetOptimizerState(model, {optimizer}, "dsd_broadcast", gives ? CodedAdamStateDict(values) : Dict{});
  const Dict pieces = GetState(model, "dsd_sharded");
  const Dict state = GetOptimizerState(model, {optimizer}, "dsd_sharded").At("state").AsDict();
  ReplicasAreEqual(t, "parameters", pieces);
  ReplicasAreEqual(t, "state", state);
  SameWholeState(t, "what rank 0 broadcast", values, pieces);
  SameWholeState(t, "the state that it broadcast", CodedAdamState(values), state);
}

RULE(RK6) {
  const std::string option = t.TextParam("option");
  Model model = BuildWrapped(t, TrainedStack(), t.TextParam("wrapper"));
  const bool differs = t.rank() == t.world_size() - 1;
  StateDictOptions options = {.full_state_dict = true};
  if (option == "cpu_offload") options.cpu_offload = differs;
  if (option == "strict") options.strict = !differs;
  if (option == "ignore_frozen_params") options.ignore_frozen_params = differs;
  const Dict whole = GetState(model, "dsd_full");
  t.RuleRaises("RuntimeError", option, [&] {
    if (option == "strict") {
      SetModelStateDict(model, whole, options);
    } else {
      GetModelStateDict(model, options);
    }
  });
}

RULE(RK7) {
  const Trained in_time = TrainAndLoad(t);
  Twin twin(TrainedStack());
  twin.SetValues(SmallValuesLike(twin.Parameters()));
  TwinOptimizer optimizer(twin, "adam", TrainingOptions("adam"));
  Train(twin, optimizer, 0, kStepsInAll);
  DelayTransport(t.caller(), 7);
  const Trained late = TrainAndLoad(t);
  SameAsTwin(t, "after 4 steps over a late transport", twin, kStepsInAll, late.parameters);
  SameState(t, "parameters", in_time.parameters, late.parameters);
  t.Rule(SameValue("optimizer state and groups", in_time.state, InOrderOf(in_time.state, late.state)));
}

RULE(RK8) {
  const std::string form = t.TextParam("form");
  const bool is_fsdp1 = t.TextParam("wrapper") == "fsdp";
  const ModelSpec spec = is_fsdp1 ? TrainedStack()
                                  : ModelSpec{.name = "mlp_stack", .args = {{"dim", 4}, {"with_seq_parallel", true}}};
  const std::string own = is_fsdp1 ? "2.bias" : "3.weight";
  const auto build = [&] {
    Model model = BuildCoded(t, spec);
    if (is_fsdp1) {
      FsdpOptions options;
      options.ignored_states = {own};
      WrapFsdp(model, "", options);
    } else {
      model.Parallelize(t.subject().InitMesh({t.world_size()}, {"tp"}), {{"3", "sequence"}});
    }
    return model;
  };
  Model model = build();
  const at::Tensor mine = Coded({4}, 100 + t.rank());
  if (is_fsdp1) {
    model.SetValues({{own, mine}});
  } else {
    model.SetLocal({{own, mine}});
  }
  const Dict saved = t.subject().Clone(GetState(model, form)).AsDict();
  t.Rule(SameValue("this rank's own value in the dict", mine, LocalPart(saved.At(own))));
  Model other = build();
  SetState(other, form, saved);
  t.Rule(SameValue("this rank's own value after a load", mine, LocalPart(other.Parameters().At(own))));
}

RULE(RK9) {
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, TrainedStack(), wrapper);
  Dict given = t.subject().Clone(GetState(model, form)).AsDict();
  const std::string fault = t.TextParam("fault");
  if (fault == "shape") given.Set("1.weight", at::zeros({5, 9}));
  if (fault == "plain") given.Set("1.weight", at::zeros({5, 8}));
  if (fault == "missing") given.Erase("1.weight");
  if (fault == "unexpected") given.Set("1.scale", at::zeros({5}));
  const std::string key = fault == "unexpected" ? "1.scale" : "1.weight";
  std::string message;
  t.RuleRaises("RuntimeError", key, [&] {
    try {
      SetState(model, form, given);
    } catch (const OperationFailed& failed) {
      message = failed.error().message;
      throw;
    }
  });
  t.Rule(Holds(message.find("module.") == message.npos, "the message", "shows a wrapper: " + message));
  if (fault != "shape") return;
  for (const char* size : {"5, 8", "5, 9"}) {
    t.Rule(Holds(message.find(size) != message.npos, "the message", fmt::format("does not say {}: {}", size, message)));
  }
}

RULE(RK11) {
  const at::Tensor first = Coded({6, 5}, 0);
  const at::Tensor given = t.rank() == 0 ? first : at::full_like(first, -t.rank());
  const std::vector<Placement> kinds{Placement::Replicate(), Placement::Shard(0), Placement::Shard(1)};
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{2, 2}, {1, 4}}) {
    const Mesh mesh = t.subject().InitMesh(shape, {"outer", "inner"});
    for (const Placement& outer : kinds) {
      for (const Placement& inner : kinds) {
        const std::string what = fmt::format("{}x{} {}", shape[0], shape[1], ToString(std::vector{outer, inner}));
        const Dict pieces{{"tensor", t.subject().Distribute(given, mesh, {outer, inner})}};
        ReplicasAreEqual(t, what, pieces);
        SameWholeState(t, what, Dict{{"tensor", first}}, pieces);
        t.Rule(Equal(what + ": strides", first.strides().vec(), pieces.At("tensor").AsDTensor().stride));
      }
    }
  }
}

RULE(RK12) {
  const ModelSpec spec = TrainedStack();
  Model model = BuildCoded(t, spec);
  if (t.rank() > 0) model.Fill(-t.rank(), /*buffers=*/true);
  FsdpOptions options = FsdpOptionsOf(t, t.TextParam("wrapper"));
  options.sync_module_states = true;
  WrapFsdp(model, "", options);
  SameState(t, "FULL of the first rank", Twin(spec).StateDict(), GetState(model, "full"));
}

RULE(RK13) {
  const ModelSpec spec = TrainedStack();
  Model model = BuildCoded(t, spec);
  const bool by_module = t.TextParam("ignored") == "module";
  FsdpOptions inner = FsdpOptionsOf(t, t.TextParam("wrapper"));
  if (by_module) inner.ignored_modules = {"1"};
  if (!by_module) inner.ignored_states = {"1.weight", "1.bias"};
  const FsdpOptions outer = FsdpOptionsOf(t, t.TextParam("wrapper"));
  WrapFsdp(model, "1", inner);
  WrapFsdp(model, "", outer);
  std::vector<std::string> managed;
  for (const Value& unit : FsdpUnits(model)) {
    const Value& flat = unit.AsDict().At("flat_parameter");
    if (flat.IsNone()) continue;
    for (const std::string& name : flat.AsDict().At("fqns").AsStrings()) managed.push_back(name);
  }
  t.Rule(SameNameSet("parameters of units", {"0.weight", "0.bias", "2.weight", "2.bias"}, managed));
  const Dict parameters = model.Parameters();
  for (const char* name : {"1.weight", "1.bias"}) {
    t.Rule(SameValue(name, Twin(spec).StateDict().At(name), parameters.At(name).AsTensor().detach().cpu()));
  }
  SameState(t, "FULL", Twin(spec).StateDict(), GetState(model, "full"));
}

RULE(RK14) {
  const int64_t shards = t.IntParam("shards");
  Model model = BuildTrained(t, TrainedStack(), "plain");
  FsdpOptions inner = FsdpOptionsOf(t, "fsdp_orig");
  inner.sharding_strategy = "HYBRID_SHARD";
  inner.device_mesh = t.subject().InitMesh({t.world_size() / shards, shards}, {"replicate", "shard"});
  WrapFsdp(model, "1", inner);
  WrapFsdp(model, "", FsdpOptionsOf(t, "fsdp_orig"));
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  const Dict given = CodedAdamStateDict(Twin(TrainedStack()).Parameters());
  const StateDictConfig config{.rank0_only = true, .optim = OptimStateDictConfig{.rank0_only = true}};
  WithStateDictType(model, StateDictKind::kFull, config, [&] {
    OptimStateDictToLoad(model, optimizer, t.rank() == 0 ? given : Dict{}, {.load_directly = true});
  });
  HasState(t, "the state that rank 0 had", given, GetOptimizerState(model, {optimizer}, "full"));
}

RULE(RK15) {
  HalfModel mine = BuildHalf(t, t.TextParam("wrapper"), Halves::kInterleaved);
  const std::vector<int64_t> ranks = RanksOfHalf(t, Halves::kInterleaved);
  for (const auto& [name, value] : GetState(mine.model, "sharded")) {
    const ShardedTensor& tensor = value.AsShardedTensor();
    t.Rule(Equal(ToString(name) + ": ranks", ranks, tensor.ranks));
    for (const ShardMetadata& shard : tensor.metadata) {
      t.Rule(Holds(std::ranges::count(ranks, shard.rank) == 1, ToString(name),
                   fmt::format("a shard is said to be on rank {}, which is not in the group", shard.rank)));
    }
  }
}

RULE(RK16) {
  const std::string form = t.TextParam("form");
  const bool is_unit = t.TextParam("wrapper") == "fsdp_mesh";
  std::vector<int64_t> ranks;
  for (int64_t rank = t.world_size() - 1; rank >= 0; --rank) ranks.push_back(rank);
  const Mesh mesh = t.subject().InitMesh({t.world_size()}, {}, ranks);
  const ModelSpec spec = TrainedStack();
  const auto build = [&](bool filled) {
    Model model = BuildCoded(t, spec);
    if (!filled) model.Fill(0);
    FsdpOptions options;
    options.device_mesh = mesh;
    is_unit ? WrapFsdp(model, "", options) : model.FullyShard("", {.mesh = mesh});
    return model;
  };
  const Dict expected = Twin(spec).StateDict();
  Model saving = build(true), loading = build(false);
  const Dict state = t.subject().Clone(GetState(saving, form)).AsDict();
  if (!HasEntries(t, "what was saved", expected, ForAllRanks(t, form, state))) return;
  SetState(loading, form, GivenBy(t, form, state));
  HasState(t, "what was loaded", expected, loading, "dsd_full");
}

RULE(RK17) {
  HalfModel mine = BuildHalf(t, t.TextParam("wrapper"), Halves::kInterleaved);
  SetOptimizerState(mine.model, {mine.optimizer}, "full", mine.state);
  const Dict pieces = ShardedOptimStateDict(mine.model, mine.optimizer, mine.group).At("state").AsDict();
  Dict gathered;
  for (const auto& [name, state] : pieces) gathered.Set(name, GatherSharded(t.caller(), state, mine.group));
  HasState(t, "the gathered pieces of this group", mine.state, {{"state", gathered}});
  const Dict whole =
      FullOptimStateDict(mine.model, mine.optimizer, {.rank0_only = t.BoolParam("rank0_only"), .group = mine.group});
  const bool has_entries = mine.is_first || !t.BoolParam("rank0_only");
  t.Rule(Equal("whether there is whole state here", has_entries, whole.Contains("state")));
  if (whole.Contains("state")) HasState(t, "whole state of this group", mine.state, whole);
  const std::optional<Dict> given = mine.is_first ? std::optional(mine.state) : std::nullopt;
  Optimizer loaded = t.subject().CreateOptimizer(mine.model, "adam");
  loaded.LoadStateDict(ScatterFullOptimStateDict(given, mine.model, {.optimizer = &loaded}, mine.group));
  HasState(t, "what the first rank of this group scattered", mine.state,
           GetOptimizerState(mine.model, {loaded}, "full"));
}

RULE(RK18) {
  std::optional<ProcessGroup> mine;
  for (const std::vector<int64_t>& ranks : {std::vector<int64_t>{2, 0}, {3, 1}}) {  // every rank takes part in both
    const ProcessGroup group = NewGroup(t.caller(), ranks);
    if (ranks.back() == t.rank() % 2) mine = group;
  }
  const ModelSpec spec = TrainedStack();
  Model model = BuildCoded(t, spec);
  FsdpOptions options = FsdpOptionsOf(t, t.TextParam("wrapper"));
  options.process_group = mine;
  WrapFsdp(model, "", options);
  Dict whole;
  WithStateDictType(model, StateDictKind::kFull, {.rank0_only = true}, [&] { whole = model.StateDict(); });
  const bool is_first = t.rank() < 2;
  t.Rule(Equal("whether the whole state dict is here", is_first, !whole.empty()));
  if (is_first) SameState(t, "the whole state dict", Twin(spec).StateDict(), whole);
  for (const auto& [name, value] : GetState(model, "sharded")) {
    const ShardedTensor& tensor = value.AsShardedTensor();
    t.Rule(Equal(ToString(name) + ": ranks", std::vector<int64_t>{t.rank() % 2, t.rank() % 2 + 2}, tensor.ranks));
    for (const LocalShard& shard : tensor.local_shards) {
      t.Rule(Equal(ToString(name) + ": whether this rank's part begins the tensor", is_first,
                   shard.metadata.offsets.at(0) == 0));
    }
  }
}

}  // namespace shardcts::extended
