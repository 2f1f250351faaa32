// State dicts that only rank 0 has.
#include <ATen/ATen.h>

#include "contract/fsdp.h"
#include "suites/state_dict/comparisons.h"
#include "suites/state_dict/expected_state.h"
#include "suites/state_dict/ports.h"
#include "suites/state_dict/save_and_load.h"

namespace shardcts::state_dict {
namespace {

StateDictOptions BroadcastFull() { return {.full_state_dict = true, .broadcast_from_rank0 = true}; }

void Wrap(Trial& t, Model& model) {
  const std::string wrapper = t.TextParam("wrapper");
  const Mesh mesh = t.subject().InitMesh({t.world_size()});
  const Mesh hybrid = t.subject().InitMesh({2, t.world_size() / 2});
  if (wrapper == "fully_shard") {
    FullyShardOptions options;
    options.mesh = mesh;
    model.FullyShard("", options);
    return;
  }
  FsdpOptions fsdp;
  fsdp.device_mesh = wrapper == "fsdp" ? mesh : hybrid;
  if (wrapper == "fsdp_hybrid_shard") fsdp.sharding_strategy = "HYBRID_SHARD";
  WrapFsdp(model, "", fsdp);
}

ModelAndOptimizerState SaveWhole(const Model& model, const Optimizer& optimizer) {
  const StateDictOptions full{.full_state_dict = true};
  return {GetModelStateDict(model, full), GetOptimizerStateDict(model, {optimizer}, full)};
}

// Step 2 instead of 1, other moments, the same names. Strict.
void ExpectOneStepMore(Trial& t, std::string_view check, const Dict& before, const Dict& after) {
  if (!t.Strict(check, SameNameSet("parameters with state", StateOf(before).Keys(), StateOf(after).Keys()))) return;
  for (const auto& [key, value] : StateOf(after)) {
    const std::string name = ToString(key);
    const Dict& entry = value.AsDict();
    const Dict& old = StateOf(before).At(key).AsDict();
    t.Strict(check, AllElementsAre(name + ".step", 2, entry.At("step")));
    const Verification same = SameValue("", old.At("exp_avg"), entry.At("exp_avg"));
    t.Strict(check, Holds(!same.ok, name + ".exp_avg", "expected another value after a further step"));
  }
}

Verification Differ(std::string_view what, const Value& expected, const Value& actual) {
  return Holds(!AreEqual(what, expected, actual).ok, what, "expected a difference, there is none");
}

}  // namespace

PORT(test_broadcast_from_rank0) {
  t.subject().Seed(1234);
  Model plain = CompositeParam(t);
  Model model = plain.Copy();
  Optimizer plain_optimizer = t.subject().CreateOptimizer(plain, "adam");
  Wrap(t, model);
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  const at::Tensor batch = UniformInput(t, {8, 100});
  StepOnSum(plain, plain_optimizer, batch);
  const ModelAndOptimizerState twin = GetStateDict(plain, {plain_optimizer});
  StepOnSum(model, optimizer, batch);

  ModelAndOptimizerState saved = SaveWhole(model, optimizer);
  ExpectEqual(t, "C1", "model", twin.model, saved.model);
  ExpectEqual(t, "C2", "optimizer", twin.optimizer, saved.optimizer);
  // Upstream saves its reference model with the same functions, so both sides may have the same error.
  t.Strict("C1", AreIdentical("model, by its own state dict", plain.StateDict(), saved.model));
  const TrainedOptimizer trained{.kind = "adam", .parameters = plain.Parameters()};
  const Dict own = ExpectedStateOf(t, trained, plain_optimizer.StateDict()).by_name;
  t.Strict("C2", AreIdentical("optimizer, by its own state dict", own, saved.optimizer));

  StepOnSum(model, optimizer, batch);
  saved = SaveWhole(model, optimizer);
  t.Check("C3", Differ("model", twin.model, saved.model));
  t.Check("C4", Differ("optimizer", twin.optimizer, saved.optimizer));
  ExpectOneStepMore(t, "C4", twin.optimizer, saved.optimizer);

  const bool has_state = t.rank() == 0;
  Dict given = has_state ? twin.model : Dict();
  t.NoError("C5", [&] { SetModelStateDict(model, given, BroadcastFull()); });
  t.NoError("C6", [&] {
    SetOptimizerStateDict(model, {optimizer}, has_state ? twin.optimizer : Dict(), BroadcastFull());
  });
  saved = SaveWhole(model, optimizer);
  ExpectEqual(t, "C7", "model", twin.model, saved.model);
  ExpectEqual(t, "C8", "optimizer", twin.optimizer, saved.optimizer);

  if (has_state) given.Erase(given.begin()->key);
  t.Raises("C9", "RuntimeError", "Missing key", [&] { SetModelStateDict(model, given, BroadcastFull()); });
}

// A model without wrappers; only the broadcast is distributed.
PORT(test_set_cpu_model_state_dict_broadcast_from_rank0) {
  t.subject().Seed(42);
  Model model = t.subject().Build("linear", {{"in", 2}, {"out", 2}}, "cpu");
  const Value expected = t.subject().Clone(model.StateDict());
  model.Fill(0);
  t.NoError("C1", [&] { SetModelStateDict(model, t.rank() == 0 ? expected.AsDict() : Dict(), BroadcastFull()); });
  const Dict actual = model.StateDict();
  t.Check("C2", SameNames("names", expected.AsDict().Keys(), actual.Keys()));
  t.Strict("C2", Equal("entries", size_t{2}, actual.size()));
  for (const auto& [name, value] : expected.AsDict()) ExpectEqual(t, "C3", ToString(name), value, actual.At(name));
}

}  // namespace shardcts::state_dict
