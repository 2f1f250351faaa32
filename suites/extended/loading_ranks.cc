// Loading: what one rank alone finds wrong, and what a failed load leaves behind.
#include <ATen/ATen.h>

#include "contract/fsdp_optim.h"
#include "suites/extended/coded.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/refusals.h"
#include "suites/extended/rule.h"
#include "suites/extended/training.h"

namespace shardcts::extended {
namespace {

// The last parameter: at each rank its parts have as many elements with padding as those of a tensor of 3.
constexpr const char* kBad = "2.bias";
const std::vector<int64_t> kBadShape = {3};

Optimizer TrainedAdam(Trial& t, Model& model, const std::string& wrapper) {
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  Train(t, model, {optimizer}, 0, 1, PartOf(t, wrapper));
  return optimizer;
}

int64_t BadRankOf(const Trial& t) { return t.TextParam("bad_rank") == "first" ? 0 : t.world_size() - 1; }

void SpoilModel(const Trial& t, const std::string& fault, Dict& state) {
  if (fault == "missing") state.Erase(kBad);
  if (fault == "shape") state.Set(kBad, InShape(t, state.At(kBad), kBadShape));
}

void SpoilOptimizer(const Trial& t, const std::string& fault, Dict& state_dict) {
  Dict& state = state_dict.Find("state")->AsDict();
  if (fault == "missing_state") state.Erase(kBad);
  if (fault == "moment") {
    Value& moment = *state.Find(kBad)->AsDict().Find("exp_avg");
    moment = InShape(t, moment, kBadShape);
  }
}

// FSDP1 with use_orig_params: an optimizer's own state dict, in which on every rank a moment has an element too many,
// or the state of a parameter is missing.
Dict SpoiledOwnState(const std::string& fault, const Optimizer& optimizer) {
  Dict state_dict = optimizer.StateDict();
  Dict& state = state_dict.Find("state")->AsDict();
  if (fault == "no_state") {
    state.Erase(state.begin()->key);
  } else {
    for (auto& [id, of_parameter] : state) {
      Value& moment = *of_parameter.AsDict().Find("exp_avg");
      if (moment.AsTensor().numel() == 0) continue;
      moment = at::cat({moment.AsTensor(), moment.AsTensor().narrow(0, 0, 1)});
      break;
    }
  }
  return state_dict;
}

// What a rank has of an entry after a load that failed.
std::string StateOfEntry(const Value& before, const Value& loaded, const Value& now) {
  const bool is_old = SameValue("", before, now).ok, is_new = SameValue("", loaded, now).ok;
  return is_old && is_new ? "either" : is_old ? "old" : is_new ? "new" : "neither";
}

// Each entry is old on all ranks or new on all of them; the bad one is old.
void WhollyOldOrNew(Trial& t, const Dict& before, const Dict& loaded, const Dict& now, const std::string& bad) {
  Dict mine;
  for (const auto& [name, value] : before) {
    const Value* found = now.Find(name);
    mine.Set(name, found ? StateOfEntry(value, loaded.At(name), *found) : "gone");
  }
  const std::vector<Value> all = t.AllGather(mine);
  for (const std::string& name : before.Keys()) {
    std::string seen;
    bool has_old = false, has_new = false, has_other = false;
    for (const Value& of_rank : all) {
      const std::string state = of_rank.AsDict().At(name).AsString();
      has_old |= state == "old";
      has_new |= state == "new";
      has_other |= state == "neither" || state == "gone";
      seen += (seen.empty() ? "" : ", ") + state;
    }
    const bool right = !has_other && !(has_old && has_new) && !(has_new && name == bad);
    const char* expected = name == bad ? "old" : "old or new";
    t.Rule(Holds(right, name, fmt::format("expected to be {} on all ranks, is {}", expected, seen)));
  }
}

// {"2.bias.exp_avg": value} of the optimizer's own state dict, which is Local.
Dict EntriesOf(Trial& t, const Optimizer& optimizer) {
  Dict entries;
  const Dict own = t.subject().Clone(optimizer.StateDict()).AsDict();
  for (const auto& [id, state] : own.At("state").AsDict()) {
    for (const auto& [name, value] : state.AsDict()) entries.Set(ToString(id) + "." + ToString(name), value);
  }
  return entries;
}

}  // namespace

RULE(LO6) {
  const std::string wrapper = t.TextParam("wrapper"), form = t.TextParam("form"), fault = t.TextParam("fault");
  const bool is_bad = t.rank() == BadRankOf(t);
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  const Dict good = SavedFor(t, model, form);
  if (fault == "missing" || fault == "shape") {
    Dict given = good;
    if (is_bad) SpoilModel(t, fault, given);
    if (!Refused(t, fault + " on one rank", {"RuntimeError"}, [&] { SetState(model, form, given); })) return;
    return StaysUsable(t, model, TrainedStack(), wrapper, form, good);
  }
  const Optimizer optimizer = TrainedAdam(t, model, wrapper);
  const Dict good_state = SavedStateFor(t, model, optimizer, form);
  const Dict before = StateOf(t, model, optimizer, wrapper);
  if (fault == "slice" || fault == "no_state") {
    const Dict own = SpoiledOwnState(fault, optimizer);
    const auto save = [&] {
      WithStateDictType(model, StateDictKind::kFull, [&] { OptimStateDict(model, optimizer, {.state_dict = own}); });
    };
    const std::string kind = fault == "slice" ? "AssertionError" : "RuntimeError";
    if (!Refused(t, "a save with " + fault, {kind}, save)) return;
  } else {
    Dict given = good_state;
    if (is_bad) SpoilOptimizer(t, fault, given);
    const std::string kind = is_bad && fault == "moment" ? "ValueError" : "RuntimeError";
    const auto load = [&] { SetOptimizerState(model, {optimizer}, form, given); };
    if (!Refused(t, fault + " on one rank", {kind}, load)) return;
  }
  SetOptimizerState(model, {optimizer}, form, good_state);
  t.Rule(SameValue("state after a good load", before, InOrderOf(before, StateOf(t, model, optimizer, wrapper))));
  Train(t, model, {optimizer}, 1, 2, PartOf(t, wrapper));
}

RULE(LO15) {
  const std::string wrapper = t.TextParam("wrapper"), form = t.TextParam("form");
  const bool is_bad = t.TextParam("bad_rank") == "every" || t.rank() == BadRankOf(t);
  Model model = BuildTrained(t, TrainedStack(), wrapper), source = BuildTrained(t, TrainedStack(), wrapper);
  const Optimizer optimizer = TrainedAdam(t, model, wrapper), of_source = TrainedAdam(t, source, wrapper);
  Train(t, source, {of_source}, 1, 3, PartOf(t, wrapper));
  const auto attempt = [&](const std::function<void()>& load) {
    try {
      load();
    } catch (const OperationFailed&) {  // rules LO1, LO2 and LO6
    }
  };
  if (t.BoolParam("of_optimizer")) {
    const Dict before = EntriesOf(t, optimizer);
    Dict given = SavedStateFor(t, source, of_source, form);
    if (is_bad) SpoilOptimizer(t, "moment", given);
    attempt([&] { SetOptimizerState(model, {optimizer}, form, GivenBy(t, form, given)); });
    WhollyOldOrNew(t, before, EntriesOf(t, of_source), EntriesOf(t, optimizer),
                   wrapper == "fsdp" ? "" : "5.exp_avg");
  } else {
    const auto parameters = [&](const Model& of) { return t.subject().Clone(of.Parameters()).AsDict(); };
    const Dict before = parameters(model);
    Dict given = SavedFor(t, source, form);
    if (is_bad) SpoilModel(t, "shape", given);
    attempt([&] { SetState(model, form, GivenBy(t, form, given)); });
    WhollyOldOrNew(t, before, parameters(source), parameters(model), kBad);
  }
}

RULE(LO16) {
  Model model = BuildTrained(t, TrainedStack(), t.TextParam("wrapper"));
  const Dict whole = GetState(model, "full");
  const auto of_the_next_rank = [&](const Dict& state) {
    const std::vector<Value> all = t.AllGather(Value(Serialize(model.caller(), state)));
    return *all[static_cast<size_t>((t.rank() + 1) % t.world_size())].TryAs<Bytes>();
  };
  const Bytes plain = of_the_next_rank(whole);
  t.Rule(SameValue("whole tensors of another rank", whole, Deserialize(model.caller(), plain)));
  const Bytes pieces = of_the_next_rank(GetState(model, "sharded"));
  t.RuleRaises("RuntimeError", "", [&] { Deserialize(model.caller(), pieces); });
}

}  // namespace shardcts::extended
