// Models without wrappers, without a process group.
#include <ATen/ATen.h>

#include "suites/state_dict/comparisons.h"
#include "suites/state_dict/ports.h"
#include "suites/state_dict/save_and_load.h"

namespace shardcts::state_dict {
namespace {

const StateDictCall kAlone{.distributed = false};

// Strict: the API saves the model's own state dict.
Dict SavedState(Trial& t, std::string_view check, const Model& model) {
  const Dict saved = GetModelStateDict(model, {}, kAlone);
  t.Strict(check, AreIdentical("model", model.StateDict(), saved));
  return saved;
}

// Loads another model's state dict into `target`; upstream loads the target's own, which proves nothing.
Dict LoadedFrom(Trial& t, std::string_view check, const Dict& source, Model& target) {
  t.NoError(check, [&] { SetModelStateDict(target, GetModelStateDict(target, {}, kAlone), {}, kAlone); });
  t.NoError(check, [&] { SetModelStateDict(target, source, {}, kAlone); });
  return GetModelStateDict(target, {}, kAlone);
}

}  // namespace

PORT(test_extra_state) {
  t.subject().Seed(1234);
  const Model model = CompositeParam(t, {{"extra_state", "MyState"}});
  Model target = CompositeParam(t, {{"extra_state", "another"}});
  const Dict own = model.StateDict();
  const Value* extra = own.Find("u1._extra_state");
  t.Check("C1", Holds(extra && ToString(*extra) == ToString(Value("MyState")), "u1._extra_state",
                      "expected the text MyState"));
  const Dict saved = SavedState(t, "C2", model);
  ExpectEqual(t, "C2", "model", own, LoadedFrom(t, "C3", saved, target));
  t.Strict("C2", Equal("entries", size_t{18}, own.size()));
}

PORT(test_non_persistent_buffers) {
  t.subject().Seed(1234);
  const Model model = CompositeParam(t, {{"non_persistent_buffer", true}});
  Model target = CompositeParam(t, {{"non_persistent_buffer", true}});
  const Value before = t.subject().Clone(target.Buffers().At("dont_save_me"));
  const Dict saved = SavedState(t, "C1", model);
  const Dict loaded = LoadedFrom(t, "C2", saved, target);
  ExpectEqual(t, "C1", "model", model.StateDict(), loaded);
  t.Strict("C1", Holds(!loaded.Contains("dont_save_me"), "dont_save_me", "is saved although it is not persistent"));
  t.Strict("C1", SameValue("dont_save_me of the target", before, target.Buffers().At("dont_save_me")));
}

PORT(test_no_dist) {
  t.subject().Seed(1234);
  Model model = CompositeParam(t);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adamw", {.lr = kLearningRate});
  t.Check("C1", Equal("ranks", 1, t.world_size()));
  const StateDictOptions options{.full_state_dict = true, .cpu_offload = true};

  const Dict saved = GetModelStateDict(model, options, kAlone);
  for (const auto& [name, value] : saved) {
    t.Check("C2", Holds(value.AsTensor().device().is_cpu(), ToString(name), "expected on the CPU"));
  }
  const Value before = t.subject().To(t.subject().Clone(model.StateDict()), "cpu");
  ExpectEqual(t, "C3", "model", before, saved);
  t.NoError("C4", [&] { SetModelStateDict(model, model.StateDict(), {}, kAlone); });

  Dict optimizer_state;
  t.NoError("C5", [&] { optimizer_state = GetOptimizerStateDict(model, {optimizer}, options, kAlone); });
  ExpectInitialState(t, "C5", model.Parameters(), optimizer_state);
  const Value after = t.subject().To(model.StateDict(), "cpu");
  t.Strict("C5", AreIdentical("model after the optimizer was initialized", before, after));
  t.NoError("C6", [&] { SetOptimizerStateDict(model, {optimizer}, optimizer_state, {}, kAlone); });
  const Dict loaded = optimizer.StateDict();
  int64_t id = 0;
  for (const std::string& name : NamesOf(model)) {
    const Value* entry = StateOf(loaded).Find(id++);
    const Value actual = entry ? t.subject().To(*entry, "cpu") : Value();
    t.Strict("C6", AreIdentical(name, StateOf(optimizer_state).At(name), actual));
  }
  t.NoError("C7", [&] { SetOptimizerStateDict(model, {optimizer}, optimizer.StateDict(), {}, kAlone); });
}

}  // namespace shardcts::state_dict
