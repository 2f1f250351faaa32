// Loading: what goes in comes out, in whatever placement, type or place it was given.
#include <ATen/ATen.h>

#include <algorithm>

#include "contract/dsd.h"
#include "contract/fsdp.h"
#include "contract/parts.h"
#include "rank/whole.h"
#include "suites/extended/coded.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/refusals.h"
#include "suites/extended/rule.h"
#include "suites/extended/training.h"

namespace shardcts::extended {
namespace {

std::string StateFormOf(const std::string& form) { return form == "local" ? "native" : form; }

// This rank's part of a whole tensor, placed like that. *Local*.
DTensor PlacedOn(const Trial& t, const at::Tensor& whole, const MeshLayout& mesh,
                 const std::vector<Placement>& placements) {
  return {.local = LocalSlice(whole, mesh, placements, t.rank()).clone(),
          .mesh = mesh,
          .placements = placements,
          .shape = whole.sizes().vec(),
          .stride = whole.strides().vec()};
}

std::vector<Placement> AllOf(const MeshLayout& mesh, const Placement& placement) {
  return std::vector<Placement>(mesh.shape.size(), placement);
}

// Each DTensor of the state dict with new values, placed in another way; dimension 1 only where there is one.
Dict PlacedOtherwise(const Trial& t, const Dict& state, const std::string& placement) {
  Dict placed;
  const Dict values = OtherValues();
  for (const auto& [name, value] : state) {
    const auto* given = value.TryAs<DTensor>();
    const at::Tensor whole = values.At(name).AsTensor();
    if (!given) {
      placed.Set(name, whole);
      continue;
    }
    std::vector<Placement> placements = AllOf(given->mesh, Placement::Replicate());
    const bool is_cut = placement == "columns" && whole.dim() > 1;
    if (is_cut) placements.back() = Placement::Shard(1);
    if (placement == "rows of the first dimension") placements.front() = Placement::Shard(0);
    placed.Set(name, PlacedOn(t, whole, given->mesh, placements));
  }
  return placed;
}

// The first moment that Adam keeps of this parameter, in a state dict by names.
Value& FirstMomentOf(Dict& state, const std::string& name) {
  return *state.Find("state")->AsDict().Find(name)->AsDict().Find("exp_avg");
}

Value LoadedMoment(Trial& t, Model& model, const Optimizer& optimizer, const std::string& wrapper, const std::string& name) {
  Dict state = StateOf(t, model, optimizer, wrapper);
  return FirstMomentOf(state, name);
}

// The ranks' pieces in the opposite order: the first rank has the last one. All pieces have one size.
ShardedTensor InOppositeOrder(const Trial& t, const ShardedTensor& given, const at::Tensor& whole) {
  ShardedTensor turned = given;
  turned.local_shards.clear();
  const size_t count = given.metadata.size();
  for (size_t i = 0; i < count; ++i) {
    ShardMetadata& shard = turned.metadata[i];
    shard.rank = given.metadata[count - 1 - i].rank;
    shard.device = given.metadata[count - 1 - i].device;
    if (shard.rank != t.rank()) continue;
    turned.local_shards.push_back({shard, whole.narrow(0, shard.offsets.front(), shard.sizes.front()).clone()});
  }
  return turned;
}

// Each rank's piece in two.
ShardedTensor InHalves(const Trial& t, const ShardedTensor& given, const at::Tensor& whole) {
  ShardedTensor halves = given;
  halves.metadata.clear();
  halves.local_shards.clear();
  for (const ShardMetadata& piece : given.metadata) {
    for (const int64_t half : {0, 1}) {
      ShardMetadata shard = piece;
      shard.sizes.front() /= 2;
      shard.offsets.front() += half * shard.sizes.front();
      halves.metadata.push_back(shard);
      if (shard.rank != t.rank()) continue;
      halves.local_shards.push_back({shard, whole.narrow(0, shard.offsets.front(), shard.sizes.front()).clone()});
    }
  }
  return halves;
}

std::string AddressesOf(const Dict& parameters, const std::string& prefix) {
  std::string text;
  for (const auto& [name, value] : parameters) {
    const std::string fqn = ToString(name);
    if (!fqn.starts_with(prefix)) text += fmt::format("{}@{:x} ", fqn, DataPointer(value));
  }
  return text;
}

}  // namespace

RULE(LO10) {
  const std::string wrapper = t.TextParam("wrapper"), form = t.TextParam("form");
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  Train(t, model, {optimizer}, 0, 2, PartOf(t, wrapper));
  const Dict parameters = ParametersOf(t, model, wrapper);
  const Dict state = StateOf(t, model, optimizer, wrapper);
  for (const char* times : {"once", "twice"}) {
    const Dict given = GivenBy(t, form, SavedFor(t, model, form));
    const Dict given_state = GivenBy(t, form, SavedStateFor(t, model, optimizer, StateFormOf(form)));
    SetState(model, form, given);
    SetOptimizerState(model, {optimizer}, StateFormOf(form), given_state);
    SameState(t, fmt::format("parameters, loaded {}", times), parameters, ParametersOf(t, model, wrapper));
    const Dict loaded = StateOf(t, model, optimizer, wrapper);
    t.Rule(SameValue(fmt::format("state, loaded {}", times), state, InOrderOf(state, loaded)));
  }
}

RULE(LO11) {
  const std::string wrapper = t.TextParam("wrapper"), form = t.TextParam("form");
  Model model = BuildTrained(t, TrainedStack(), wrapper), source = BuildWithOtherValues(t, wrapper);
  const Dict before = ParametersOf(t, model, wrapper);
  const Dict good = SavedFor(t, model, form);
  for (const std::string other : {"full", "sharded", "local"}) {
    if (other == form) continue;
    const Dict given = SavedFor(t, source, other);
    const auto load = [&] { SetState(model, form, given); };
    if (!Refused(t, "a dict of type " + other, {"RuntimeError", "AssertionError"}, load)) return;
    SameState(t, "after a dict of type " + other, before, ParametersOf(t, model, wrapper));
  }
  StaysUsable(t, model, TrainedStack(), wrapper, form, good);
}

RULE(LO12) {
  const std::string wrapper = t.TextParam("wrapper"), form = t.TextParam("form"), placement = t.TextParam("placement");
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  const Dict good = SavedFor(t, model, form);
  const bool same_shape = placement == "another name";
  if (placement != "another mesh" && !same_shape) {
    SetState(model, form, PlacedOtherwise(t, good, placement));
    SameState(t, "loaded from " + placement, OtherValues(), ParametersOf(t, model, wrapper));
    return;
  }
  const std::vector<int64_t> own = MeshShapeOf(wrapper, t.world_size());
  const std::vector<int64_t> other = own.size() == 1 ? std::vector<int64_t>{2, t.world_size() / 2}
                                                     : std::vector<int64_t>{t.world_size()};
  const MeshLayout mesh = (same_shape ? t.subject().InitMesh(own, {"other"}) : t.subject().InitMesh(other)).Layout();
  Dict given = good;
  const at::Tensor whole = OtherValues().At("1.weight").AsTensor();
  given.Set("1.weight", PlacedOn(t, whole, mesh, AllOf(mesh, same_shape ? Placement::Shard(0) : Placement::Replicate())));
  const Dict before = ParametersOf(t, model, wrapper);
  if (!Refused(t, "a DTensor of another mesh", {"RuntimeError"}, [&] { SetState(model, form, given); })) return;
  SameState(t, "after a DTensor of another mesh", before, ParametersOf(t, model, wrapper));
  StaysUsable(t, model, TrainedStack(), wrapper, form, good);
}

RULE(LO13) {
  const std::string wrapper = t.TextParam("wrapper"), form = t.TextParam("form");
  Model model = BuildCoded(t, TrainedStack());
  MoveSubmodule(model, "1", "meta");
  Wrap(t, model, TrainedStack(), wrapper);
  const std::vector<ParameterGroup> real = {{{"0.weight", "0.bias", "2.weight", "2.bias"}}};
  const auto adam_of = [&](Model& of) {
    return t.subject().CreateOptimizer(of, "adam", TrainingOptions("adam"), real);
  };
  const Optimizer early = adam_of(model);
  const std::string addresses = AddressesOf(model.Parameters(), "1.");
  Model other = BuildTrained(t, TrainedStack(), wrapper);
  const Optimizer of_other = adam_of(other);
  SetState(model, form, GivenBy(t, form, SavedFor(t, other, form)));
  SameState(t, "after the load", ParametersOf(t, other, wrapper), ParametersOf(t, model, wrapper));
  t.Rule(Equal("addresses of what was real before the load", addresses, AddressesOf(model.Parameters(), "1.")));
  Train(t, model, {early}, 0, 1, PartOf(t, wrapper));
  Train(t, other, {of_other}, 0, 1, PartOf(t, wrapper));
  SameState(t, "after a step of an optimizer that is older than the load", ParametersOf(t, other, wrapper),
            ParametersOf(t, model, wrapper));
}

RULE(LO14) {
  const std::string wrapper = t.TextParam("wrapper"), form = t.TextParam("form");
  const BatchPart part = PartOf(t, wrapper);
  Model source = BuildTrained(t, TrainedStack(), wrapper);
  Model model = BuildWithOtherValues(t, wrapper);
  if (t.BoolParam("after_forward")) {
    Accumulate(t, model, 0, part);
    model.ZeroGrad();
  }
  const Dict given = SavedFor(t, source, form);
  SetState(model, form, given, {.assign = true});
  SameState(t, "after the load", ParametersOf(t, source, wrapper), ParametersOf(t, model, wrapper));
  for (Model* trained : {&source, &model}) {
    const Optimizer optimizer = t.subject().CreateOptimizer(*trained, "adam", TrainingOptions("adam"));
    Train(t, *trained, {optimizer}, 0, 2, part);
  }
  SameState(t, "after two steps", ParametersOf(t, source, wrapper), ParametersOf(t, model, wrapper));
}

RULE(LO19) {
  const std::string wrapper = t.TextParam("wrapper"), placement = t.TextParam("placement"), name = "1.weight";
  const std::string form = "dsd_sharded";
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  Train(t, model, {optimizer}, 0, 1, PartOf(t, wrapper));
  const Dict saved = SavedStateFor(t, model, optimizer, form);
  const at::Tensor whole = CodedLike({{name, OtherValues().At(name)}}).At(name).AsTensor();
  const bool is_other = placement == "another mesh";
  const MeshLayout mesh =
      wrapper == "plain" || is_other
          ? t.subject().InitMesh(is_other ? std::vector<int64_t>{2, t.world_size() / 2}
                                          : std::vector<int64_t>{t.world_size()}).Layout()
          : model.Parameters().At(name).AsDTensor().mesh;
  const Placement placed = placement == "columns" ? Placement::Shard(1)
                           : placement == "rows"  ? Placement::Shard(0)
                                                  : Placement::Replicate();
  Dict given = t.subject().Clone(saved).AsDict();
  FirstMomentOf(given, name) = PlacedOn(t, whole, mesh, AllOf(mesh, placed));
  Optimizer loaded = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  if (is_other) {
    Refused(t, "a moment of another mesh", {"RuntimeError"}, [&] { SetOptimizerState(model, {loaded}, form, given); });
    return;
  }
  SetOptimizerState(model, {loaded}, form, given);
  Dict expected = t.subject().Clone(saved).AsDict();
  Value& moment = FirstMomentOf(expected, name);
  moment = moment.TryAs<DTensor>() ? Value(PlacedOn(t, whole, mesh, moment.AsDTensor().placements)) : Value(whole);
  t.Rule(SameValue("state loaded from " + placement, expected, InOrderOf(expected, GetOptimizerState(model, {loaded}, form))));
}

// FSDP1 over a mesh.
RULE(LO22) {
  const std::string wrapper = "fsdp_mesh", form = "sharded", name = "2.weight";
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  const MeshLayout other = t.subject().InitMesh({t.world_size(), 1}, {"rows", "copies"}).Layout();
  const Dict before = ParametersOf(t, model, wrapper);
  Dict given = SavedFor(t, model, form);
  given.Set(name, PlacedOn(t, OtherValues().At(name).AsTensor(), other, {Placement::Shard(0), Placement::Replicate()}));
  const std::vector<std::string> kinds = {"AssertionError", "RuntimeError", "ValueError"};
  if (!Refused(t, "a parameter on another mesh", kinds, [&] { SetState(model, form, given); })) return;
  SameState(t, "after the refused load", before, ParametersOf(t, model, wrapper));
}

RULE(LO23) {
  const std::string wrapper = "fsdp_mesh", form = "sharded", name = "1.weight";
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  Train(t, model, {optimizer}, 0, 1, PartOf(t, wrapper));
  const int64_t copies = t.IntParam("copies");
  const MeshLayout other = t.subject().InitMesh({t.world_size() / copies, copies}, {"rows", "copies"}).Layout();
  const at::Tensor whole = CodedLike({{name, OtherValues().At(name)}}).At(name).AsTensor();
  Dict expected = StateOf(t, model, optimizer, wrapper);
  Dict given = SavedStateFor(t, model, optimizer, form);
  FirstMomentOf(given, name) = PlacedOn(t, whole, other, {Placement::Shard(0), Placement::Replicate()});
  bool loaded = true;
  try {
    SetOptimizerState(model, {optimizer}, form, given);
  } catch (const OperationFailed&) {
    loaded = false;
  }
  const std::vector<Value> of_ranks = t.AllGather(loaded);
  const bool agree = std::ranges::all_of(of_ranks, [&](const Value& one) { return one.AsBool() == loaded; });
  if (!t.Rule(Holds(agree, "the load", "some ranks have loaded the moment, others have refused it"))) return;
  if (loaded) FirstMomentOf(expected, name) = whole;
  SameState(t, loaded ? "after the load" : "after the refused load", expected, StateOf(t, model, optimizer, wrapper));
}

// A copy to the meta device does nothing.
RULE(LO20) {
  Model model = t.subject().Build("linear", {{"in", 3}, {"out", 4}}, "meta");
  const Dict given{{"weight", Coded({4, 3}, 1)}, {"bias", Coded({4}, 2)}};
  const Outcome outcome =
      model.caller().Call("model.load_state_dict", {{"model", model.handle()}, {"state_dict", given}});
  t.Rule(Holds(outcome.ok(), "the load", "is an error"));
  for (const auto& [name, value] : given) {
    const bool is_told = std::ranges::any_of(outcome.warnings, [&](const Warning& warning) {
      return warning.message.find(ToString(name)) != std::string::npos && warning.message.find("meta") != std::string::npos;
    });
    t.Rule(Holds(is_told, ToString(name), "is not named in a warning"));
  }
}

RULE(LO21) {
  const std::string wrapper = t.TextParam("wrapper"), pieces = t.TextParam("pieces"), name = "0.weight";
  Model model = BuildTrained(t, TrainedStack(), wrapper);
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", TrainingOptions("adam"));
  Train(t, model, {optimizer}, 0, 1, PartOf(t, wrapper));
  const bool of_optimizer = t.TextParam("of") == "optimizer";
  Dict given = of_optimizer ? SavedStateFor(t, model, optimizer, "sharded") : SavedFor(t, model, "sharded");
  Value& entry = of_optimizer ? FirstMomentOf(given, name) : *given.Find(name);
  const at::Tensor whole = OtherValues().At(name).AsTensor();
  const ShardedTensor& own = entry.AsShardedTensor();
  entry = pieces == "turned" ? InOppositeOrder(t, own, whole) : InHalves(t, own, whole);
  std::string error;
  try {
    if (of_optimizer) {
      SetOptimizerState(model, {optimizer}, "sharded", given);
    } else {
      SetState(model, "sharded", given);
    }
  } catch (const OperationFailed& failed) {
    error = failed.what();
  }
  for (const Value& of_rank : t.AllGather(Value(error))) {
    if (!t.Rule(Equal("whether a rank has an error", error.empty(), of_rank.AsString().empty()))) return;
  }
  if (!error.empty()) return;
  const Value loaded = of_optimizer ? LoadedMoment(t, model, optimizer, wrapper, name)
                                    : ParametersOf(t, model, wrapper).At(name);
  t.Rule(SameValue(name + ", which was loaded from such pieces", whole, loaded));
}

}  // namespace shardcts::extended
