// What stays of a state dict's structure: keys, empty containers, tied tensors.
#include <ATen/ATen.h>

#include "suites/rules/coded.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

// As an optimizer without names has it.
Dict ById(const at::Tensor& first, const at::Tensor& second, int64_t step) {
  return {{"state", Dict{{0, Dict{{"moment", first}, {"step", step}}}, {7, Dict{{"moment", second}, {"step", step + 1}}}}},
          {"last", step}};
}

Dict WithEmpty(const at::Tensor& tensor) {
  return {{"dict", Dict{}},
          {"list", List{}},
          {"nested", Dict{{"dict", Dict{}}, {"tensor", tensor}}},
          {"tensors", List{tensor, Dict{}}}};
}

}  // namespace

RULE(NM4) {
  const World world = FirstRanks(t);
  const Dict saved = ById(rules::Coded({3, 2}, 1), rules::Coded({4}, 2), 5);
  world.Save(saved, "ids");
  const Dict loaded = world.Load(ById(at::zeros({3, 2}), at::zeros({4}), 0), "ids");
  t.Rule(SameValue("what was loaded", saved, loaded));
  t.Rule(SameValue("what was read", saved, InOrderOf(saved, ReadCheckpoint(t.caller(), "ids"))));
}

RULE(NM5) {
  const World world = FirstRanks(t);
  const Dict saved = WithEmpty(rules::Coded({3, 2}, 1));
  world.Save(saved, "empty");
  t.Rule(SameValue("what was loaded", saved, world.Load(WithEmpty(at::zeros({3, 2})), "empty")));
  t.Rule(SameValue("what was read", saved, InOrderOf(saved, ReadCheckpoint(t.caller(), "empty"))));
}

RULE(NM7) {
  // Both names of each pair have the value of the first.
  const std::vector<PlacedTensor> one = {{"embedding", {7, 3}, "S0"}, {"plain", {4}, ""}};
  const World world = FirstRanks(t);
  const auto with_second_names = [](Dict state, const Dict& second) {
    state.Set("decoder", second.At("embedding"));
    state.Set("plain_too", second.At("plain"));
    return state;
  };
  const Dict coded = CodedState(t, world, one), expected = with_second_names(coded, coded);
  if (Saves(t)) return world.Save(expected, "tied");
  const Dict tied = BlankState(t, world, one);
  const Dict apart = world.Load(with_second_names(BlankState(t, world, one), BlankState(t, world, one)), "tied");
  t.Rule(SameValue("into tensors of their own", expected, InOrderOf(expected, apart)));
  const Dict together = world.Load(with_second_names(tied, tied), "tied");
  t.Rule(SameValue("into tied tensors", expected, InOrderOf(expected, together)));
  t.Rule(Equal("where the second name is", DataPointer(together.At("embedding")), DataPointer(together.At("decoder"))));
}

RULE(NM10) {
  const World world = FirstRanks(t);
  const at::Tensor one = rules::Coded({2}, 1), two = rules::Coded({3}, 2), three = rules::Coded({4}, 3);
  const Dict state{{"a", List{List{one, two}, List{three}}}};
  world.Save(state, "checkpoint");
  const auto entries = DescribeCheckpoint(t.caller(), "checkpoint").entries;
  for (const char* name : {"a.0.0", "a.0.1", "a.1.0"}) {
    t.Rule(Holds(entries.contains(name), name, "is no name of the checkpoint"));
  }
  const Dict blank{{"a", List{List{at::zeros({2}), at::zeros({3})}, List{at::zeros({4})}}}};
  t.Rule(SameValue("what was loaded", state, world.Load(blank, "checkpoint")));
}

}  // namespace shardcts::storage
