// Round trips: what a save leaves alone, and what a load brings back.
#include <ATen/ATen.h>

#include "contract/dsd.h"
#include "contract/tensor_bytes.h"
#include "rank/whole.h"
#include "suites/rules/coded.h"
#include "suites/rules/comparison.h"
#include "suites/storage/files_on_disk.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

const std::vector<PlacedTensor> kMixed = {{"sharded", {7, 3}, "S0"},
                                          {"columns", {2, 5}, "S1"},
                                          {"replicated", {3, 2}, "R"},
                                          {"plain", {4}, ""},
                                          {"number", {}, "R"},
                                          {"ids", {6}, "S0", at::kLong}};

// Three layers with 7, 5 and 3 outputs, position-coded and fully sharded.
Model BuildSharded(Trial& t) {
  Model model =
      t.subject().Build("linear_stack", {{"sizes", ToValue(std::vector<int64_t>{4, 7, 5, 3})}}, t.device());
  model.SetValues(rules::CodedLike(model.Parameters()));
  for (const char* path : {"0", "1", ""}) model.FullyShard(path);
  return model;
}

void ModelRoundTrip(Trial& t) {
  Model model = BuildSharded(t);
  const Dict expected = WholeDict(t, GetModelStateDict(model));
  t.Rule(SameValue("the model before the save", rules::CodedLike(expected), expected));
  SaveCheckpoint(t.caller(), {{"model", GetModelStateDict(model)}, {"step", 3}}, "model");
  model.Fill(-1);
  const Dict loaded = LoadCheckpoint(t.caller(), {{"model", GetModelStateDict(model)}, {"step", 0}}, "model");
  rules::SameWholeState(t, "what was loaded", rules::CodedLike(expected), loaded.At("model").AsDict());
  t.Rule(Equal<int64_t>("step", 3, loaded.At("step").AsInt()));
  rules::SameWholeState(t, "the model", rules::CodedLike(expected), GetModelStateDict(model));
}

// Of each tensor where its values are: address and layout.
std::map<std::string, uintptr_t> PlacesOf(const Dict& state) {
  std::map<std::string, uintptr_t> places;
  for (const auto& [name, value] : state) places[ToString(name)] = DataPointer(value);
  return places;
}

// Every rank goes on when all have come here.
void Meet(Trial& t) { t.AllGather(Value()); }

}  // namespace

RULE(RT1) {
  if (t.TextParam("what") == "fully_shard") return ModelRoundTrip(t);
  const World world = FirstRanks(t);
  world.Save(CodedState(t, world, kMixed), "tensors");
  HasCoded(t, "what was loaded", world, kMixed, world.Load(BlankState(t, world, kMixed), "tensors"));
}

RULE(RT2) {
  Model model = BuildSharded(t);
  const Value output = model.Forward({at::ones({2, 4})});
  model.Backward(output);
  const Dict state{{"model", GetModelStateDict(model)}, {"list", List{1, 2.5, "text"}}, {"step", 3}};
  const Value before = t.subject().Clone(state);
  const Value gradients = t.subject().Clone(model.Gradients());
  const at::Tensor random = t.subject().RandomState().clone();
  SaveCheckpoint(t.caller(), state, "model");
  t.Rule(SameValue("the state dict", before, state));
  t.Rule(SameValue("the gradients", gradients, model.Gradients()));
  t.Rule(SameValue("the random state", random, t.subject().RandomState()));
  t.Rule(SameValue("the model", before.AsDict().At("model"), GetModelStateDict(model)));
}

RULE(RT3) {
  const World world = FirstRanks(t);
  world.Save(CodedState(t, world, kMixed), "tensors");
  const Dict destination = BlankState(t, world, kMixed);
  const auto places = PlacesOf(destination);
  const Dict loaded = world.Load(destination, "tensors");
  HasCoded(t, "what was given", world, kMixed, destination);
  t.Rule(SameNameSet("names", destination.Keys(), loaded.Keys()));
  for (const auto& [name, value] : loaded) {
    t.Rule(Equal(ToString(name) + ": address", places.at(ToString(name)), DataPointer(value)));
  }
}

RULE(RT4) {
  const World world = FirstRanks(t);
  world.Save(CodedState(t, world, kMixed), "tensors");
  const auto before = DigestsBelow(t.Folder("tensors"));
  Meet(t);
  for (const char* time : {"the first time", "the second time"}) {
    HasCoded(t, time, world, kMixed, world.Load(BlankState(t, world, kMixed), "tensors"));
  }
  Meet(t);
  t.Rule(Equal("the files", before, DigestsBelow(t.Folder("tensors"))));
}

RULE(RT6) {
  const World world = FirstRanks(t);
  world.Save(CodedState(t, world, kMixed), "tensors");
  const Dict loaded = world.Load(BlankState(t, world, kMixed), "tensors");
  const Dict read = ReadCheckpoint(t.caller(), "tensors");
  Meet(t);
  if (t.rank() == 0) ZeroBelow(t.Folder("tensors"));
  Meet(t);
  HasCoded(t, "after the files have changed", world, kMixed, loaded);
  for (const auto& [name, whole] : WholeState(kMixed)) {
    t.Rule(SameValue("read: " + ToString(name), whole, read.At(name)));
  }
  for (const auto& [changed, value] : loaded) {
    const Dict before = t.subject().Clone(loaded).AsDict();
    t.subject().Fill(value, 7);
    for (const auto& [name, other] : loaded) {
      if (name == changed) continue;
      t.Rule(SameValue(fmt::format("{} after a change of {}", ToString(name), ToString(changed)), before.At(name), other));
    }
  }
}

RULE(RT7) {
  const World world = FirstRanks(t);
  Dict saved, wanted;
  for (const int64_t size : {int64_t{1} << 12, int64_t{1} << 16, int64_t{1} << 20, int64_t{8} << 20}) {
    for (const int64_t bytes : {size - 1, size, size + 1}) {
      const std::string name = fmt::format("{} bytes", bytes);
      saved.Set(name, at::arange(bytes, at::kLong).remainder(251).to(at::kByte));
      wanted.Set(name, at::zeros({bytes}, at::kByte));
    }
  }
  world.Save(saved, "checkpoint");
  t.Rule(SameValue("what was loaded", saved, world.Load(wanted, "checkpoint")));
}

RULE(RT8) {
  const World world = FirstRanks(t);
  Dict state;
  for (const char* dtype : {"float64", "float32", "bfloat16", "float16", "complex64", "complex128", "int64", "int32", "int16",
                            "int8", "uint8", "bool", "float8_e4m3fn"}) {
    const at::Tensor whole = rules::Coded({5, 2}, 1).remainder(2).to(*ParseDtype(dtype));
    state.Set(dtype, PartOf(whole, world.layout(), PlacementsOf("S0"), t.rank()));
  }
  world.Save(state, "checkpoint", {.format = FormatOf(t)});
  for (const std::string& complaint : VerifyCheckpoint(t.caller(), "checkpoint")) {
    t.Rule(Holds(false, "a checkpoint of every dtype", complaint));
  }
  t.Rule(Equal("complete", true, DescribeCheckpoint(t.caller(), "checkpoint").complete));
}

}  // namespace shardcts::storage
