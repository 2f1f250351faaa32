// Optimizer state: before any step, flat, and with entries of groups that the target lacks.
#include <ATen/ATen.h>

#include "contract/fsdp.h"
#include "rank/whole.h"
#include "suites/state_dict/comparisons.h"
#include "suites/state_dict/expected_state.h"
#include "suites/state_dict/ports.h"
#include "suites/state_dict/save_and_load.h"

namespace shardcts::state_dict {
namespace {

constexpr size_t kParameters = 15;
constexpr size_t kStates = 3;
constexpr size_t kGroupEntries = 11;  // of AdamW, params not counted

bool HasInitialLr(const Dict& state_dict) { return FirstGroupOf(state_dict).Contains("initial_lr"); }

Model ShardedLayers(Trial& t) {
  Model model = t.subject().Build("linear_stack", {{"sizes", List{4, 4, 4}}, {"bias", false}}, t.device());
  for (const char* path : {"0", "1", ""}) model.FullyShard(path);
  return model;
}

// Compares placements too; keys in any order.
void ExpectSameStateDict(Trial& t, std::string_view check, const Optimizer& expected, const Optimizer& actual) {
  ExpectEqual(t, check, "state dict of the optimizer", expected.StateDict(), actual.StateDict());
}

void ExpectFlatKeys(Trial& t, std::string_view check, const Dict& flat, const std::vector<std::string>& names) {
  const TrainedOptimizer trained{.kind = "adamw", .parameters = {}};
  const std::vector<std::string> states = StateNames(trained), options = GroupOptions(trained).Keys();
  std::vector<std::string> expected;
  for (const std::string& name : names) {
    for (const std::string& state : states) expected.push_back("state." + name + "." + state);
    for (const std::string& option : options) expected.push_back("param_groups." + name + "." + option);
  }
  t.Strict(check, Equal("flat keys", kParameters * (kStates + kGroupEntries), flat.size()));
  t.Strict(check, SameNameSet("flat keys", expected, flat.Keys()));
}

}  // namespace

PORT(test_fsdp_root_not_initialized) {
  t.subject().Seed(1234);
  const Model plain = CompositeParam(t);
  Model model = plain.Copy();
  FsdpOptions fsdp;
  fsdp.device_mesh = t.subject().InitMesh({t.world_size()});
  WrapFsdp(model, "", fsdp);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  Dict model_state, optimizer_state;
  t.NoError("C1", [&] { model_state = GetModelStateDict(model); });
  t.NoError("C2", [&] { optimizer_state = GetOptimizerStateDict(model, {optimizer}); });

  const Value own = plain.StateDict();
  t.Strict("C1", AreIdentical("model", own, Whole(t, model_state)));
  ExpectInitialState(t, "C2", plain.Parameters(), WholeDict(t, optimizer_state));
  const Value again = Whole(t, GetModelStateDict(model));
  t.Strict("C2", AreIdentical("model after the optimizer was initialized", own, again));
}

PORT(test_optim_state_dict_param_matching) {
  t.subject().Seed(0);
  const Model model = ShardedLayers(t);
  Optimizer scheduled = t.subject().CreateOptimizer(model, "adam", {.lr = 1e-2});
  scheduled.Schedule(0.95);
  const Dict saved =
      GetOptimizerStateDict(model, {scheduled}, {.full_state_dict = true, .cpu_offload = true});
  if (t.rank() == 0) t.Check("C1", Holds(HasInitialLr(saved), "saved group", "expected an entry initial_lr"));

  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {.lr = 1e-2});
  t.Check("C2", Holds(!HasInitialLr(optimizer.StateDict()), "group of a new optimizer", "has an entry initial_lr"));
  t.NoError("C3", [&] {
    SetOptimizerStateDict(model, {optimizer}, saved, {.full_state_dict = true, .broadcast_from_rank0 = true});
  });
  if (t.rank() > 0) return;  // which entries the groups of other ranks get is left open
  const Dict loaded = optimizer.StateDict();
  if (!t.Check("C4", Holds(HasInitialLr(loaded), "loaded group", "expected an entry initial_lr"))) return;
  t.Strict("C4", Equal("initial_lr", 1e-2, FirstGroupOf(loaded).At("initial_lr").AsDouble()));
}

PORT(test_flattened_osd) {
  t.subject().Seed(1234);
  Model model = CompositeParam(t);
  const std::vector<std::string> names = NamesOf(model);
  FullyShardOptions options;
  options.mesh = t.subject().InitMesh({t.world_size()});
  model.FullyShard("", options);
  Optimizer trained = t.subject().CreateOptimizer(model, "adamw");
  StepOnSum(model, trained, UniformInput(t, {8, 100}));
  trained.ZeroGrad();
  const Dict nested = GetOptimizerStateDict(model, {trained});
  Dict flat;
  t.NoError("C1", [&] { flat = GetOptimizerStateDict(model, {trained}, {.flatten_optimizer_state_dict = true}); });
  ExpectFlatKeys(t, "C1", flat, names);

  const Optimizer from_flat = t.subject().CreateOptimizer(model, "adamw");
  t.NoError("C2", [&] { SetOptimizerStateDict(model, {from_flat}, flat); });
  ExpectSameStateDict(t, "C3", trained, from_flat);
  // A new optimizer, because upstream's has already loaded the flat form.
  const Optimizer from_nested = t.subject().CreateOptimizer(model, "adamw");
  t.NoError("C4", [&] { SetOptimizerStateDict(model, {from_nested}, nested); });
  ExpectSameStateDict(t, "C5", trained, from_nested);
}

}  // namespace shardcts::state_dict
