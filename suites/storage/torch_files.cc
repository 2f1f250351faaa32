// Files of torch.save and checkpoints that are converted into each other.
#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include "contract/tensor_bytes.h"
#include "suites/rules/coded.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"
#include "suites/storage/safetensors_files.h"

namespace shardcts::storage {
namespace {

const std::vector<PlacedTensor> kFiled = {
    {"rows", {7, 3}, "S0"},     {"columns", {2, 5}, "S1", at::kDouble}, {"replicated", {3, 2}, "R", at::kBFloat16},
    {"number", {}, "R"},        {"ids", {6}, "S0", at::kLong},          {"flags", {5}, "S0", at::kBool},
    {"few", {1, 2}, "S0"},      {"nothing", {0, 3}, "S0"},              {"small.ints", {3, 3}, "S0", at::kShort},
    {"plain", {4}, "", at::kHalf}};

// Beside the tensors: values that are none, of the types that a state dict has.
Dict WithValues(const Dict& tensors) {
  return {{"model", tensors},
          {"step", 7},
          {"rate", 0.1},
          {"name", "größe"},
          {"history", List{1, 2.5, true, "text"}},
          {"groups", List{Dict{{"lr", 0.5}, {"params", List{"rows", "ids"}}}}}};
}

constexpr const char* kFile = "all.pt";

void LoadsFile(Trial& t) {
  Dict blank;
  for (const auto& [name, whole] : WholeState(kFiled)) blank.Set(name, at::zeros_like(whole.AsTensor()));
  const Dict filled = LoadTorchFile(t.caller(), {{"model", blank}}, kFile);
  t.Rule(SameValue("the file", Value(Dict{{"model", WholeState(kFiled)}}), filled));
}

}  // namespace

RULE(FM5) {
  const World world = FirstRanks(t);
  const Value expected = WithValues(WholeState(kFiled));
  world.Save(WithValues(CodedState(t, world, kFiled)), "checkpoint", {});
  Rank0Does(t, [&] {
    ConvertCheckpoint(t.caller(), "checkpoint", kFile, "torch_save");
    ConvertCheckpoint(t.caller(), kFile, "back", "default");
  });
  if (t.TextParam("through") == "load_file") return LoadsFile(t);
  const Value read = ReadCheckpoint(t.caller(), "back");
  t.Rule(SameValue("the checkpoint made of the file", expected, InOrderOf(expected, read)));
  const Dict loaded = world.Load({{"model", BlankState(t, world, kFiled)}}, "back");
  if (const Value* model = loaded.Find("model")) HasCoded(t, "what was loaded", world, kFiled, model->AsDict());
}

RULE(FM12) {
  const World world = FirstRanks(t);
  world.Save({{"rows", rules::Coded({4, 3}, 1)}}, "checkpoint", {});
  Rank0Does(t, [&] { ConvertCheckpoint(t.caller(), "checkpoint", kFile, "torch_save"); });
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{2, 3}, {5, 3}, {12}}) {
    IsRefused(t, "a load into " + ShapeToString(shape), {"rows"},
              [&] { LoadTorchFile(t.caller(), {{"rows", at::zeros(shape)}}, kFile); });
  }
}

RULE(FM14) {
  const World world = FirstRanks(t);
  world.Save(CodedState(t, world, kFiled), "checkpoint", {.format = FormatOf(t)});
  Rank0Does(t, [&] { ConvertCheckpoint(t.caller(), "checkpoint", "whole", "safetensors"); });
  std::vector<std::string> problems;
  const std::map<std::string, at::Tensor> found = ReadSafetensorsBelow(t.Folder("whole"), problems);
  t.Rule(Holds(problems.empty(), "the files", fmt::format("{}", fmt::join(problems, "; "))));
  for (const auto& [name, whole] : WholeState(kFiled)) {
    const auto tensor = found.find(ToString(name));
    t.Rule(tensor == found.end() ? Holds(false, ToString(name), "is in no file")
                                 : SameValue(ToString(name), whole, tensor->second));
  }
  Rank0Does(t, [&] { ConvertCheckpoint(t.caller(), "whole", "back", "default"); });
  HoldsCoded(t, "converted back", kFiled, "back");
}

RULE(FM18) {
  const std::string to = t.TextParam("to"), target = to == "torch_save" ? kFile : "target";
  const World world = FirstRanks(t);
  for (const int64_t number : {1, 2}) {
    const std::string source = fmt::format("source{}", number);
    world.Save({{"rows", rules::Coded({4, 3}, number)}}, source);
    Rank0Does(t, [&] { ConvertCheckpoint(t.caller(), source, target, to); });
  }
  if (to == "torch_save") Rank0Does(t, [&] { ConvertCheckpoint(t.caller(), target, "read", "default"); });
  const Dict read = ReadCheckpoint(t.caller(), to == "torch_save" ? "read" : target);
  t.Rule(SameValue("rows", rules::Coded({4, 3}, 2), read.At("rows")));
}

RULE(FM19) {
  const World world = FirstRanks(t);
  world.Save({{"rows", rules::Coded({4, 3}, 1)}}, "checkpoint", {});
  Rank0Does(t, [&] { ConvertCheckpoint(t.caller(), "checkpoint", kFile, "torch_save"); });
  for (const at::ScalarType dtype : {at::kBFloat16, at::kInt}) {
    IsRefused(t, "a load into " + DtypeName(dtype), {"rows"},
              [&] { LoadTorchFile(t.caller(), {{"rows", at::zeros({4, 3}, dtype)}}, kFile); });
  }
}

RULE(FM20) {
  const World world = FirstRanks(t);
  world.Save({{"rows", rules::Coded({4, 3}, 1)}, {"epoch", 3}}, "checkpoint", {});
  IsRefused(t, "a conversion of a plain value to safetensors", {},
            [&] { Rank0Does(t, [&] { ConvertCheckpoint(t.caller(), "checkpoint", "whole", "safetensors"); }); });
}

}  // namespace shardcts::storage
