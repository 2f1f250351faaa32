// What is missing, and loads of a part.
#include <ATen/ATen.h>

#include "suites/rules/coded.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

const std::vector<PlacedTensor> kSaved = {{"layer.weight", {5, 2}, "S0"}, {"layer.bias", {5}, "S0"}, {"head", {3}, "R"}};
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

}  // namespace shardcts::storage
