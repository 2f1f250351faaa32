// Names: the stages of a pipeline, each on ranks of its own.
#include <ATen/ATen.h>

#include <algorithm>

#include "suites/extended/comparison.h"
#include "suites/extended/optimizer_state.h"
#include "suites/extended/rule.h"
#include "suites/extended/trees.h"

namespace shardcts::extended {
namespace {

constexpr int kLayers = 4;

// Layers [first, last) of the pipeline, by their numbers in it; each has another width.
ModelSpec StageOf(int first, int last) {
  Dict children;
  for (int i = first; i < last; ++i) children.Set(std::to_string(i), LinearNode(5 + i));
  return TreeSpec({{"kind", "sequential"}, {"children", children}}, {{"in", 4 + first}});
}

ModelSpec WholePipeline() { return StageOf(0, kLayers); }

// One half of the layers on each half of the ranks.
struct Stage {
  Model model;
  Optimizer optimizer;
  int64_t number;
};

constexpr double kRateOfStage = 0.0625;  // times (number + 1)

Stage BuildStage(Trial& t, const std::string& wrapper) {
  const int64_t size = t.world_size() / 2;
  const int64_t number = t.rank() / size;
  const ModelSpec spec = StageOf(number == 0 ? 0 : kLayers / 2, number == 0 ? kLayers / 2 : kLayers);
  Model model = BuildCoded(t, spec);
  const Dict whole = Twin(WholePipeline()).Parameters();
  Dict own;
  for (const std::string& name : model.Parameters().Keys()) own.Set(name, whole.At(name));
  model.SetValues(own);
  WrapInHalves(t, model, spec, wrapper);
  const Optimizer optimizer =
      t.subject().CreateOptimizer(model, "adam", {.lr = kRateOfStage * static_cast<double>(number + 1)});
  Dict state = CodedAdamStateDict(whole);
  Dict kept;
  for (const std::string& name : own.Keys()) kept.Set(name, state.At("state").AsDict().At(name));
  Dict group = state.At("param_groups").AsList().front().AsDict();
  group.Set("params", ToValue(own.Keys()));
  group.Set("lr", kRateOfStage * static_cast<double>(number + 1));
  SetOptimizerState(model, {optimizer}, "dsd_full", {{"state", kept}, {"param_groups", List{group}}});
  return {model, optimizer, number};
}

// The entries of all ranks together; one that two ranks of a stage have must be equal on both.
Dict United(Trial& t, const std::string& what, const Dict& entries) {
  Dict united;
  std::vector<Value> of_ranks = t.AllGather(entries);
  for (const Value& of_rank : of_ranks) {
    for (const auto& [key, value] : of_rank.AsDict()) {
      const Value* other = united.Find(key);
      if (other) t.Rule(SameValue(fmt::format("{}: {} on two ranks", what, ToString(key)), *other, value));
      united.Set(key, value);
    }
  }
  return united;
}

// The state in a flat optimizer state dict of the whole pipeline.
Dict FlatExpected() {
  Dict flat;
  for (const auto& [name, state] : CodedAdamState(Twin(WholePipeline()).Parameters())) {
    for (const auto& [entry, value] : state.AsDict()) {
      flat.Set("state." + ToString(name) + "." + ToString(entry), value);
    }
  }
  return flat;
}

}  // namespace

RULE(NA8) {
  const std::string wrapper = t.TextParam("wrapper");
  Stage stage = BuildStage(t, wrapper);
  const Dict expected = Twin(WholePipeline()).StateDict();
  const Dict model = United(t, "model", GetState(stage.model, "dsd_full"));
  SameState(t, "the stages' model dicts together", expected, InOrderOf(expected, model).AsDict());

  const StateDictOptions flat_and_whole{.full_state_dict = true, .flatten_optimizer_state_dict = true};
  const Dict flat =
      United(t, "optimizer", GetOptimizerStateDict(stage.model, {stage.optimizer}, flat_and_whole));
  const Dict expected_flat = FlatExpected();
  Dict state;
  for (const auto& [key, value] : flat) {
    const std::string name = ToString(key);
    if (name.starts_with("state.")) state.Set(name, value);
  }
  SameState(t, "the stages' flat optimizer state together", expected_flat, InOrderOf(expected_flat, state).AsDict());
  for (const std::string& name : expected.Keys()) {
    const double rate = kRateOfStage * (name < std::to_string(kLayers / 2) ? 1 : 2);
    const Value* found = flat.Find("param_groups." + name + ".lr");
    t.Rule(Holds(found != nullptr, "param_groups." + name + ".lr", "is not there"));
    if (found) t.Rule(SameValue("param_groups." + name + ".lr", rate, *found));
  }
  for (const std::string& key : flat.Keys()) {
    const bool names_one = std::ranges::any_of(
        expected.Keys(), [&](const std::string& name) { return key.find("." + name + ".") != key.npos; });
    t.Rule(Holds(names_one, key, "has no parameter's name"));
  }
}

}  // namespace shardcts::extended
