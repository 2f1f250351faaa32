// What is missing, and loads of a part.
#include <ATen/ATen.h>

#include "suites/rules/coded.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

const std::vector<PlacedTensor> kSaved = {{"layer.weight", {5, 2}, "S0"}, {"layer.bias", {5}, "S0"}, {"head", {3}, "R"}};
// Also in a dict and in a list.
Dict Nested(const Dict& state) {
  return {{"layer", Dict{{"weight", state.At("layer.weight")}, {"bias", state.At("layer.bias")}}},
          {"list", List{state.At("head"), 3, state.At("plain")}}};
}

// The same on the meta device.
Value OnMeta(const Value& value) {
  if (const auto* distributed = value.TryAs<DTensor>()) {
    DTensor moved = *distributed;
    moved.local = at::empty_like(moved.local, moved.local.options().device(at::kMeta));
    return moved;
  }
  return at::empty_like(value.AsTensor(), value.AsTensor().options().device(at::kMeta));
}

const PlacedTensor kMissing = {"layer.missing", {4, 2}, "S0"};

}  // namespace

RULE(LD1) {
  const World world = FirstRanks(t);
  world.Save(CodedState(t, world, kSaved), "checkpoint");
  std::vector<PlacedTensor> wanted = kSaved;
  wanted.push_back(kMissing);
  IsRefused(t, "a tensor that was not saved", {"layer.missing"},
            [&] { world.Load(BlankState(t, world, wanted), "checkpoint"); });
  IsRefused(t, "a value that was not saved", {"absent"}, [&] { world.Load({{"absent", 3}}, "checkpoint"); });
  IsRefused(t, "no checkpoint", {}, [&] { world.Load(BlankState(t, world, kSaved), "nowhere"); });
}

RULE(LD2) {
  const World world = FirstRanks(t);
  world.Save(CodedState(t, world, kSaved), "checkpoint");
  std::vector<PlacedTensor> wanted = kSaved;
  wanted.push_back(kMissing);
  Dict destination = BlankState(t, world, wanted);
  destination.Set("absent", 3);
  const Value before = t.subject().Clone(destination).AsDict().At(kMissing.name);
  Dict loaded = world.Load(destination, "checkpoint", {.partial = true});
  t.Rule(SameNameSet("names", destination.Keys(), loaded.Keys()));
  t.Rule(SameValue("the missing tensor", before, loaded.At(kMissing.name)));
  t.Rule(SameValue("the missing value", 3, loaded.At("absent")));
  loaded.Erase(kMissing.name);
  loaded.Erase("absent");
  HasCoded(t, "the others", world, kSaved, loaded);
}

RULE(LD6) {
  std::vector<PlacedTensor> tensors = kSaved;
  tensors.push_back({"plain", {2, 3}, ""});
  const World world = FirstRanks(t);
  const Dict expected = Nested(CodedState(t, world, tensors));
  if (Saves(t)) return world.Save(expected, "checkpoint");
  Dict destination;
  for (const auto& [name, value] : BlankState(t, world, tensors)) destination.Set(name, OnMeta(value));
  t.Rule(SameValue("what was loaded", expected, world.Load(Nested(destination), "checkpoint")));
}

RULE(LD8) {
  const World world = FirstRanks(t);
  if (Saves(t)) return world.Save(CodedState(t, world, kSaved), "checkpoint");
  // The other ranks do nothing.
  if (t.rank() != t.world_size() - 1) return t.Rule({}), void();
  HoldsCoded(t, "what was read", kSaved, "checkpoint");
  const CheckpointDescription description = DescribeCheckpoint(t.caller(), "checkpoint");
  t.Rule(Equal("complete", true, description.complete));
  for (const PlacedTensor& tensor : kSaved) {
    const auto entry = description.entries.find(tensor.name);
    if (!t.Rule(Holds(entry != description.entries.end(), tensor.name, "is not described"))) continue;
    t.Rule(Equal(tensor.name + ": shape", tensor.shape, entry->second.shape));
  }
}

RULE(LD4) {
  const World world = FirstRanks(t);
  const at::Tensor first = rules::Coded({3, 2}, 1), second = rules::Coded({4}, 2);
  world.Save({{"layer", Dict{{"weight", first}, {"bias", second}}}, {"layers", second}, {"step", 3}}, "checkpoint");
  const Dict loaded = world.Load({{"layer", Dict{{"bias", at::zeros({4})}}}}, "checkpoint");
  t.Rule(SameValue("a load of one name", Dict{{"layer", Dict{{"bias", second}}}}, loaded));
  const Dict below = ReadCheckpoint(t.caller(), "checkpoint", {"layer"});
  const Dict names = ReadCheckpoint(t.caller(), "checkpoint", {"layer.weight", "step"});
  const Dict expected{{"layer", Dict{{"weight", first}, {"bias", second}}}};
  t.Rule(SameValue("what is in a dict", expected, InOrderOf(expected, below)));
  const Dict both{{"layer", Dict{{"weight", first}}}, {"step", 3}};
  t.Rule(SameValue("two names", both, InOrderOf(both, names)));
}

RULE(LD10) {
  const World world = FirstRanks(t);
  const Dict value{{"step", 5}}, tensor{{"step", rules::Coded({2}, 1)}};
  world.Save(value, "value");
  world.Save(tensor, "tensor");
  IsRefused(t, "a plain value into a tensor", {"step"}, [&] { world.Load({{"step", at::zeros({2})}}, "value"); });
  IsRefused(t, "a tensor into a plain value", {"step"}, [&] { world.Load({{"step", 0}}, "tensor"); });
}

RULE(LD11) {
  const World world = FirstRanks(t);
  world.Save(CodedState(t, world, kSaved), "checkpoint");
  const Dict loaded =
      LoadCheckpoint(t.caller(), BlankState(t, world, kSaved), "checkpoint", {.distributed = false});
  HasCoded(t, "what a rank has loaded by itself", world, kSaved, loaded);
}

RULE(LD12) {
  const World world = FirstRanks(t);
  world.Save(CodedState(t, world, kSaved), "checkpoint");
  IsRefused(t, "a read of a name that is not there", {"nobody has saved this"},
            [&] { ReadCheckpoint(t.caller(), "checkpoint", {kSaved.front().name, "nobody has saved this"}); });
}

RULE(LD14) {
  const World world = FirstRanks(t);
  world.Save({{"there", rules::Coded({2, 2}, 1)}}, "checkpoint");
  const at::TensorOptions meta = at::TensorOptions().dtype(at::kFloat).device(at::kMeta);
  const Dict loaded =
      world.Load({{"there", at::empty({2, 2}, meta)}, {"missing", at::empty({2, 2}, meta)}}, "checkpoint", {.partial = true});
  t.Rule(SameValue("there", rules::Coded({2, 2}, 1), loaded.At("there").AsTensor().to(at::kCPU)));
  t.Rule(Equal("whether what is missing stays on meta", true, loaded.At("missing").AsTensor().is_meta()));
}

RULE(LD15) {
  const World world = FirstRanks(t);
  world.Save({{"model", Dict{{"weight", rules::Coded({2, 2}, 1)}}}}, "checkpoint");
  const Dict model_state{{"weight", rules::Coded({2, 2}, 1)}};
  IsRefused(t, "optimizer state under a key that the checkpoint lacks", {"optim"},
            [&] { LoadOptimizerCheckpoint(t.caller(), model_state, "optim", "checkpoint"); });
}

RULE(LD16) {
  const World world = FirstRanks(t);
  world.Save(CodedState(t, world, kSaved), "checkpoint");
  const Value read = Require(t.caller(), "storage.read", {{"path", "checkpoint"}, {"keys", List{}}});
  t.Rule(SameValue("a read of no names", Value(Dict{}), read));
}

RULE(LD17) {
  const World world = FirstRanks(t);
  const Dict groups{{"lr", 0.5}};
  world.Save({{"optimizer", Dict{{"param_groups", List{groups}}}}, {"weight", rules::Coded({2}, 1)}}, "checkpoint",
             {.format = FormatOf(t)});
  const Dict wanted{{"optimizer", Dict{{"state", Dict{}}, {"param_groups", List{Dict{{"lr", 0.0}}}}}},
                    {"weight", at::zeros({2})}};
  const Dict loaded = world.Load(wanted, "checkpoint", {.format = FormatOf(t)});
  t.Rule(SameValue("weight", rules::Coded({2}, 1), loaded.At("weight")));
  t.Rule(SameValue("groups", Value(List{groups}), loaded.At("optimizer").AsDict().At("param_groups")));
  t.Rule(SameValue("state", Value(Dict{}), loaded.At("optimizer").AsDict().At("state")));
}

RULE(LD18) {
  const World world = FirstRanks(t);
  world.Save({{"lists", List{rules::Coded({2}, 1)}}}, "checkpoint");
  IsRefused(t, "an empty list in the place of a list of tensors", {}, [&] { world.Load({{"lists", List{}}}, "checkpoint"); });
  IsRefused(t, "an empty list that is not there", {"missing"}, [&] { world.Load({{"missing", List{}}}, "checkpoint"); });
}

}  // namespace shardcts::storage
