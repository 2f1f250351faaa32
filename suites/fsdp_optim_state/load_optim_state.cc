#include "suites/fsdp_optim_state/load_optim_state.h"

#include <ATen/ATen.h>

namespace shardcts::fsdp_optim_state {
namespace {

// The functions that save and convert.
struct Functions {
  std::function<void(Training&)> prepare;
  std::function<Dict(const Training&, const std::optional<ProcessGroup>&)> save;
  std::function<Dict(const Dict& saved, const Training&, const std::optional<ProcessGroup>&)> convert;
};

TrainingOptions FirstModel(const LoadCase& load_case) {
  return {.kind = load_case.kind, .multiple_groups = load_case.multiple_groups};
}

TrainingOptions SecondModel(const LoadCase& load_case, const std::optional<ProcessGroup>& group) {
  return {.kind = load_case.kind,
          .wrap_alt = load_case.wrap_alt,
          .multiple_groups = load_case.multiple_groups,
          .diff_optim_inputs = load_case.diff_optim_inputs,
          .use_orig_params = load_case.use_orig_params,
          .group = group};
}

// Compares the saved state with the reference model's; ranks other than rank 0 may have nothing.
void CompareWithTwin(Trial& t, std::string_view check, const Twin& twin, const Dict& saved) {
  if (!saved.empty()) ExpectStateOfTwin(t, check, twin.state, saved);
}

// The first model's optimizer state for the second model, on the second's ranks.
void LoadInto(Trial& t, const LoadChecks& checks, const LoadCase& load_case, const Functions& functions,
              const Dict& saved1, const std::optional<ProcessGroup>& group) {
  Training two = NewTraining(t, SecondModel(load_case, group));
  functions.prepare(two);
  Train(t, two, kIterations);
  const Dict saved2 = functions.save(two, group);
  const Dict converted1 = functions.convert(saved1, two, group);
  const Dict converted2 = functions.convert(saved2, two, group);
  const Dict local = two.optimizer.StateDict();
  ExpectSameGroups(t, checks.second_groups, converted2, local);
  ExpectSameState(t, checks.second_state, converted2, local);
  ExpectSameGroups(t, checks.first_groups, converted1, local);
  ExpectSameState(t, checks.first_state, converted1, local);

  Twin twin = TrainTwin(t, FirstModel(load_case), kIterations);
  CompareWithTwin(t, checks.second_state.values, twin, saved2);
  // A sharded first state dict needs all ranks, so only a full world has one.
  CompareWithTwin(t, checks.first_state.values, twin, saved1);

  t.NoError(checks.load, [&] { two.optimizer.LoadStateDict(converted2); });
  ExpectEqualDictsStrictly(t, checks.load, converted2, two.optimizer.StateDict());
  std::vector<double> losses;
  t.NoError(checks.train, [&] { losses = Train(t, two, kIterations); });
  const bool exact = load_case.kind == ModelKind::kNested;
  t.Strict(checks.train, SameLosses(Train(t, twin.training, kIterations), losses, exact));
}

void RunLoadCase(Trial& t, const LoadChecks& checks, const LoadCase& load_case, const Functions& functions) {
  Training one = NewTraining(t, FirstModel(load_case));
  functions.prepare(one);
  Train(t, one, kIterations);
  const Dict saved = functions.save(one, std::nullopt);
  if (!load_case.halve_world_size) return LoadInto(t, checks, load_case, functions, saved, std::nullopt);
  std::vector<int64_t> even;
  for (int64_t rank = 0; rank < t.world_size(); rank += 2) even.push_back(rank);
  const ProcessGroup group = NewGroup(one.model.caller(), even);
  t.Among(even, [&] { LoadInto(t, checks, load_case, functions, saved, group); });
}

Dict FromRank0(Trial& t, const Dict& saved) {
  const Value received = t.FromRank0(saved);
  return received.AsDict();
}

}  // namespace

void LoadWithLegacyFunctions(Trial& t, const LoadChecks& checks, const LoadCase& load_case, LegacyFunctions kind,
                             bool use_optim_input) {
  using Group = std::optional<ProcessGroup>;
  const auto save = [&](const Training& training, const Group& group) {
    if (kind == LegacyFunctions::kFlattenSharded) return ShardedOptimStateDict(training.model, training.optimizer, group);
    FullOptimOptions options{.group = group};
    if (use_optim_input) options.optim_input = training.optim_input;
    return FullOptimStateDict(training.model, training.optimizer, options);
  };
  const auto convert = [&](const Dict& saved, const Training& training, const Group& group) {
    const OptimizerLayout layout = LayoutOf(training, use_optim_input);
    switch (kind) {
      case LegacyFunctions::kShardFull: return ShardFullOptimStateDict(FromRank0(t, saved), training.model, layout);
      case LegacyFunctions::kScatterFull: {
        const std::optional<Dict> own = t.rank() == 0 ? std::optional(saved) : std::nullopt;
        return ScatterFullOptimStateDict(own, training.model, layout, group);
      }
      case LegacyFunctions::kFlattenSharded: break;
    }
    return FlattenShardedOptimStateDict(saved, training.model, training.optimizer);
  };
  RunLoadCase(t, checks, load_case, {[](Training&) {}, save, convert});
}

void LoadWithOptimStateDict(Trial& t, const LoadChecks& checks, const LoadCase& load_case, StateDictKind kind,
                            bool rank0_only) {
  using Group = std::optional<ProcessGroup>;
  const auto prepare = [&](Training& training) {
    SetStateDictType(training.model, kind, {.optim = OptimStateDictConfig{.rank0_only = rank0_only}});
  };
  const auto save = [](const Training& training, const Group& group) {
    return OptimStateDict(training.model, training.optimizer, {.group = group});
  };
  const auto convert = [](const Dict& saved, const Training& training, const Group& group) {
    return OptimStateDictToLoad(training.model, training.optimizer, saved, {.group = group});
  };
  RunLoadCase(t, checks, load_case, {prepare, save, convert});
}

}  // namespace shardcts::fsdp_optim_state
