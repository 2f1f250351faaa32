#include "suites/state_dict/save_and_load.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <map>

#include "rank/whole.h"
#include "suites/state_dict/comparisons.h"
#include "suites/state_dict/expected_state.h"

namespace shardcts::state_dict {
namespace {

constexpr int kSteps = 10;

at::Generator GeneratorFor(int64_t number) { return at::detail::createCPUGenerator(static_cast<uint64_t>(number)); }

// The plain reference model, and the state dicts that must be saved.
struct TwinState {
  Model model;
  Optimizer optimizer;
  Dict model_state;
  ExpectedState optimizer_state;
};

struct Wrapped {
  Model model;
  Optimizer optimizer;
};

Wrapped WrappedCopy(Trial& t, const SaveLoadCase& save_load, const Model& plain) {
  Model model = plain.Copy();
  save_load.wrap(model);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, save_load.optimizer, {.lr = kLearningRate});
  return {model, optimizer};
}

StateDictOptions OptionsOf(const SaveLoadCase& save_load) {
  return {.flatten_optimizer_state_dict = save_load.flatten_optimizer};
}

StateDictCall CallOf(const SaveLoadCase& save_load) { return {.distributed = save_load.distributed}; }

void TrainAlike(Trial& t, TwinState& twin, Wrapped& wrapped) {
  for (int i = 0; i < kSteps; ++i) {
    const at::Tensor batch = UniformInput(t, {8, 100}, i);
    twin.optimizer.ZeroGrad();
    wrapped.optimizer.ZeroGrad();
    StepOnSum(twin.model, twin.optimizer, batch);
    StepOnSum(wrapped.model, wrapped.optimizer, batch);
  }
  twin.optimizer.ZeroGrad();
}

// Upstream's _verify_osd_by_load. It comes last, because a failed load ends the test. Each load uses a new optimizer;
// upstream's still has the state of an earlier load.
struct LoadChecks {
  std::string_view load, state_dict;
};
void ExpectSameAfterLoad(Trial& t, const SaveLoadCase& save_load, const LoadChecks& checks, TwinState& twin,
                         const Dict& whole) {
  Optimizer fresh = t.subject().CreateOptimizer(twin.model, save_load.optimizer, {.lr = kLearningRate});
  t.NoError(checks.load, [&] { SetStateDict(twin.model, {fresh}, {Dict(), whole}, {}, CallOf(save_load)); });
  ExpectEqual(t, checks.state_dict, "state dict of the optimizer", twin.optimizer_state.by_id, fresh.StateDict());
}

void ExpectOptimizerState(Trial& t, const SaveLoadCase& save_load, const OptimizerStateChecks& checks,
                          const TwinState& twin, const Dict& saved) {
  if (!save_load.flatten_optimizer) ExpectSameOptimizerState(t, checks, twin.optimizer_state.by_name, saved);
}

// Phase A: C1 to C16.
ModelAndOptimizerState SaveTrained(Trial& t, const SaveLoadCase& save_load, TwinState& twin, const Wrapped& wrapped) {
  ModelAndOptimizerState saved;
  t.NoError("C1", [&] {
    saved = GetStateDict(wrapped.model, {wrapped.optimizer}, OptionsOf(save_load), CallOf(save_load));
  });
  ExpectSameModelState(t, {.count = "C2", .names = "C3", .tensors = "C4", .values = "C5"},
                       twin.model_state, saved.model);
  const Dict optimizer = WholeDict(t, saved.optimizer);
  ExpectOptimizerState(t, save_load,
                       {.count = "C8", .names = "C9", .states = "C10", .state_names = "C11", .state_values = "C12",
                        .groups = "C13", .group_entries = "C14", .params = "C15", .options = "C16"},
                       twin, optimizer);
  ExpectSameAfterLoad(t, save_load, {.load = "C6", .state_dict = "C7"}, twin, optimizer);
  return saved;
}

// Phase B: C17 to C32.
void LoadIntoFresh(Trial& t, const SaveLoadCase& save_load, const TwinState& twin, Wrapped& fresh,
                   const ModelAndOptimizerState& saved) {
  const StateDictOptions options = OptionsOf(save_load);
  const StateDictCall call = CallOf(save_load);
  t.NoError("C17", [&] { SetModelStateDict(fresh.model, saved.model, options, call); });
  t.NoError("C18", [&] { SetOptimizerStateDict(fresh.model, {fresh.optimizer}, saved.optimizer, options, call); });
  ModelAndOptimizerState again;
  t.NoError("C19", [&] { again = GetStateDict(fresh.model, {fresh.optimizer}, options, call); });
  ExpectSameModelState(t, {.count = "C20", .names = "C21", .tensors = "C22", .values = "C23"},
                       twin.model_state, again.model);
  ExpectOptimizerState(t, save_load,
                       {.count = "C24", .names = "C25", .states = "C26", .state_names = "C27", .state_values = "C28",
                        .groups = "C29", .group_entries = "C30", .params = "C31", .options = "C32"},
                       twin, again.optimizer);
}

// Phase C: C33 to C49.
void SavePatched(Trial& t, const SaveLoadCase& save_load, TwinState& twin, Wrapped& loaded) {
  t.NoError("C33", [&] {
    PatchModelStateDict(loaded.model, OptionsOf(save_load));
    PatchOptimizerStateDict(loaded.model, {loaded.optimizer}, OptionsOf(save_load));
  });
  ModelAndOptimizerState saved;
  t.NoError("C34", [&] { saved = {loaded.model.StateDict(), loaded.optimizer.StateDict()}; });
  ExpectSameModelState(t, {.count = "C35", .names = "C36", .tensors = "C37", .values = "C38"},
                       twin.model_state, saved.model);
  const Dict optimizer = WholeDict(t, saved.optimizer);
  ExpectOptimizerState(t, save_load,
                       {.count = "C41", .names = "C42", .states = "C43", .state_names = "C44", .state_values = "C45",
                        .groups = "C46", .group_entries = "C47", .params = "C48", .options = "C49"},
                       twin, optimizer);
  ExpectSameAfterLoad(t, save_load, {.load = "C39", .state_dict = "C40"}, twin, optimizer);
}

std::vector<std::string> Below(const std::vector<std::string>& names, const std::vector<std::string>& prefixes) {
  std::vector<std::string> found;
  std::ranges::copy_if(names, std::back_inserter(found), [&](const std::string& name) {
    return std::ranges::any_of(prefixes, [&](const std::string& prefix) { return name.starts_with(prefix); });
  });
  return found;
}

// C50, which upstream never reaches: without its frozen parameters a state dict has the other entries, unchanged.
void ExpectNoFrozenParameters(Trial& t, const SaveLoadCase& save_load) {
  Model plain = save_load.build();
  plain.SetRequiresGrad(Below(NamesOf(plain), save_load.frozen_prefixes), false);
  const Wrapped wrapped = WrappedCopy(t, save_load, plain);
  const Dict own = plain.StateDict();
  const Dict saved = WholeDict(
      t, GetModelStateDict(wrapped.model, {.ignore_frozen_params = true}, CallOf(save_load)));
  std::vector<std::string> names = saved.Keys();
  std::erase_if(names, [&](const std::string& name) { return std::ranges::count(save_load.optional_names, name) > 0; });
  t.Strict("C50", SameNameSet("names without frozen parameters", save_load.left_names, names));
  for (const auto& [name, value] : saved) t.Strict("C50", SameValue(ToString(name), own.At(name), value));
}

// C51, which upstream never reaches: each of several optimizers contributes a group.
void ExpectOneGroupEach(Trial& t, const SaveLoadCase& save_load) {
  Model plain = save_load.build();
  Model model = plain.Copy();
  save_load.wrap(model);
  std::map<std::string, std::vector<std::string>> owned;
  for (const std::string& name : NamesOf(model)) owned[save_load.optimizer_of(name)].push_back(name);
  std::vector<Optimizer> optimizers;
  for (const auto& [owner, names] : owned) {
    const std::vector<ParameterGroup> groups = {ParameterGroup{.parameters = names, .options = {}}};
    optimizers.push_back(t.subject().CreateOptimizer(model, save_load.optimizer, {.lr = kLearningRate}, groups));
  }
  const Dict saved = GetOptimizerStateDict(model, optimizers, {}, CallOf(save_load));
  std::vector<std::string> params;
  for (const Value& group : GroupsOf(saved)) {
    const std::vector<std::string> own = group.AsDict().At("params").AsStrings();
    params.insert(params.end(), own.begin(), own.end());
  }
  t.Strict("C51", Equal("parameter groups", optimizers.size(), GroupsOf(saved).size()));
  t.Strict("C51", SameNameSet("parameters of all groups", NamesOf(plain), params));
}

}  // namespace

at::Tensor UniformInput(const Trial& t, at::IntArrayRef shape, int64_t number) {
  return at::rand(shape, GeneratorFor(number), at::kFloat).to(c10::Device(t.device()));
}

at::Tensor NormalInput(const Trial& t, at::IntArrayRef shape, int64_t number) {
  return at::randn(shape, GeneratorFor(number), at::kFloat).to(c10::Device(t.device()));
}

void StepOnSum(Model& model, Optimizer& optimizer, const at::Tensor& input) {
  model.Backward(model.Forward({input}));
  optimizer.Step();
}

std::vector<std::string> NamesOf(const Model& model) { return model.Parameters().Keys(); }

Model CompositeParam(Trial& t, Dict arguments) {
  return t.subject().Build("composite_param", std::move(arguments), t.device());
}

void SaveAndLoad(Trial& t, const SaveLoadCase& save_load) {
  t.subject().Seed(1234);
  Model plain = save_load.build();
  Wrapped wrapped = WrappedCopy(t, save_load, plain);
  const Optimizer optimizer = t.subject().CreateOptimizer(plain, save_load.optimizer, {.lr = kLearningRate});
  TwinState twin{plain, optimizer, {}, {}};
  TrainAlike(t, twin, wrapped);
  twin.model_state = plain.StateDict();
  const TrainedOptimizer trained{save_load.optimizer, kLearningRate, kSteps, plain.Parameters()};
  twin.optimizer_state = ExpectedStateOf(t, trained, optimizer.StateDict());
  const ModelAndOptimizerState saved = SaveTrained(t, save_load, twin, wrapped);

  Wrapped fresh = WrappedCopy(t, save_load, save_load.build());
  LoadIntoFresh(t, save_load, twin, fresh, saved);
  SavePatched(t, save_load, twin, fresh);
  ExpectNoFrozenParameters(t, save_load);
  ExpectOneGroupEach(t, save_load);
}

}  // namespace shardcts::state_dict
