// Names.
#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>

#include "suites/rules/coded.h"
#include "suites/storage/files_on_disk.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

Dict Nested(const at::Tensor& first, const at::Tensor& second, const Value& plain) {
  return {{"a", Dict{{"b", Dict{{"weight", first}}}, {"list", List{second, plain, Dict{{"deep", plain}}}}}},
          {"a.c", second},  // in no dict, and no element of "a"
          {"plain", plain},
          {"numbers", List{1, 2, 3}}};
}

void NestedComesBack(Trial& t, const SaveOptions& options) {
  const World world = FirstRanks(t);
  const at::Tensor first = rules::Coded({2, 3}, 1), second = rules::Coded({4}, 2);
  const Dict saved = Nested(first, second, 5);
  world.Save(saved, "nested", options);
  const Dict loaded =
      world.Load(Nested(at::zeros({2, 3}), at::zeros({4}), 0), "nested", {.format = options.format});
  t.Rule(SameValue("what was loaded", saved, loaded));
  t.Rule(SameValue("what was read", saved, InOrderOf(saved, ReadCheckpoint(t.caller(), "nested"))));
}

}  // namespace

RULE(NM1) {
  const World world = FirstRanks(t);
  std::vector<PlacedTensor> tensors;
  for (const std::string& name :
       {std::string("a.b"), std::string("a/b"), std::string("../../up"), std::string("/etc/absolute"), std::string(".."),
        std::string("two words"), std::string("Case"), std::string("case"), std::string("pre"), std::string("prefix"),
        std::string("größe"), std::string("quote\"back\\slash"), std::string("line\nend"), std::string(300, 'x'),
        std::string("%s{}$"), std::string(".metadata"), std::string("checkpoint.json")}) {
    tensors.push_back({name, {3, 2}, tensors.size() % 2 ? "S0" : "R"});
  }
  world.Save(CodedState(t, world, tensors), "inner/names");
  HasCoded(t, "what was loaded", world, tensors, world.Load(BlankState(t, world, tensors), "inner/names"));
  for (const std::filesystem::directory_entry& entry : std::filesystem::directory_iterator(t.Folder())) {
    t.Rule(Equal<std::string>("beside the checkpoint", "inner", entry.path().filename().string()));
  }
}

RULE(NM2) {
  const World world = FirstRanks(t);
  const at::Tensor one = rules::Coded({2}, 1), two = rules::Coded({2}, 2);
  const Dict dots{{"a.b", one}, {"a", Dict{{"b", two}}}};
  const Dict index{{"a.0", one}, {"a", List{two}}};
  IsRefused(t, "a name with a dot", {"a.b"}, [&] { world.Save(dots, "dots"); });
  IsRefused(t, "an index", {"a.0"}, [&] { world.Save(index, "index"); });
  t.Rule(Equal("complete", false, DescribeCheckpoint(t.caller(), "dots").complete));
  t.Rule(Equal("complete", false, DescribeCheckpoint(t.caller(), "index").complete));
}

RULE(NM3) { NestedComesBack(t, {}); }

RULE(NM12) { NestedComesBack(t, {.format = FormatOf(t)}); }

RULE(NM8) {
  const at::Tensor tensor = at::arange(6, at::kFloat);
  const Dict state{{"model", Dict{{"layer.0", tensor}, {"layers", List{Dict{{"w", tensor + 1}}, tensor + 2, 5}}}},
                   {"history", List{1, 2, 3}},
                   {"step", 7}};
  const FlatState flattened = FlattenState(t.caller(), state);
  SaveCheckpoint(t.caller(), state, "checkpoint");
  std::vector<std::string> names;
  for (const auto& [name, entry] : DescribeCheckpoint(t.caller(), "checkpoint").entries) names.push_back(name);
  t.Rule(SameNameSet("flat names", names, flattened.flat.Keys()));
  t.Rule(SameValue("model.layers.0.w", tensor + 1, flattened.flat.At("model.layers.0.w")));
  t.Rule(SameValue("nested again", state, UnflattenState(t.caller(), flattened)));
}

RULE(NM9) {
  const World world = FirstRanks(t);
  const Dict both{{"state", Dict{{Key(int64_t{1}), rules::Coded({2}, 1)}, {"1", rules::Coded({2}, 2)}}}};
  IsRefused(t, "an int key beside its text", {"state.1"}, [&] { world.Save(both, "checkpoint"); });
  t.Rule(Equal("complete", false, DescribeCheckpoint(t.caller(), "checkpoint").complete));
}

RULE(NM11) {
  List layers;
  for (int64_t i = 0; i < 12; ++i) layers.push_back(rules::Coded({2}, i));
  const Dict state{{"layers", layers}};
  FlatState flat = FlattenState(t.caller(), state);
  std::vector<std::string> names = flat.flat.Keys();
  std::ranges::sort(names);  // layers.0, layers.1, layers.10, …
  Dict sorted;
  for (const std::string& name : names) sorted.Set(name, flat.flat.At(name));
  t.Rule(SameValue("put together", state, UnflattenState(t.caller(), {sorted, flat.paths})));
}

}  // namespace shardcts::storage
