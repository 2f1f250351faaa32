// Files that others read, too.
#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include "contract/json_codec.h"
#include "suites/storage/files_on_disk.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"
#include "suites/storage/safetensors_files.h"

namespace shardcts::storage {
namespace {

const std::vector<PlacedTensor> kTyped = {
    {"rows", {7, 3}, "S0"},           {"columns", {2, 5}, "S1", at::kDouble}, {"replicated", {3, 2}, "R", at::kBFloat16},
    {"plain", {4}, "", at::kHalf},    {"number", {}, "R"},                    {"ids", {6}, "S0", at::kLong},
    {"flags", {5}, "S0", at::kBool},  {"bytes", {9}, "", at::kByte},          {"small.ints", {3, 3}, "S0", at::kShort},
    {"größe \"x\"", {2}, "", at::kInt}};

// By what a reader of whole tensors must be able to do.
std::vector<PlacedTensor> TensorsNamed(const std::string& kind) {
  if (kind == "floats") {
    return {{"rows", {7, 3}, "S0"}, {"columns", {2, 5}, "S1", at::kDouble}, {"replicated", {3, 2}, "R", at::kBFloat16},
            {"third", {3, 2, 5}, "S2", at::kHalf}, {"plain", {4}, ""}};
  }
  if (kind == "ints") {
    return {{"ids", {6, 2}, "S0", at::kLong}, {"flags", {5}, "S0", at::kBool}, {"bytes", {3, 5}, "S1", at::kByte}};
  }
  if (kind == "numbers") return {{"number", {}, "R"}, {"plain_number", {}, "", at::kDouble}};
  return {{"no_rows", {0, 3}, "S0"}, {"few", {1, 2}, "S0"}, {"nothing", {0}, ""}};
}

// Saves them, and consolidates what was saved into these files of the folder "whole". *Collective*.
void SaveWhole(Trial& t, const World& world, const std::vector<PlacedTensor>& tensors,
               const std::map<std::string, int64_t>& file_of) {
  world.Save(CodedState(t, world, tensors), "parts", {.format = "safetensors"});
  Rank0Does(t, [&] { ConsolidateCheckpoint(t.caller(), "parts", "whole", file_of); });
}

std::map<std::string, int64_t> InFiles(int64_t files, const std::vector<PlacedTensor>& tensors) {
  std::map<std::string, int64_t> file_of;
  for (size_t i = 0; i < tensors.size(); ++i) file_of[tensors[i].name] = static_cast<int64_t>(i) % files + 1;
  return file_of;
}

Json IndexIn(const std::string& folder) {
  return Json::parse(ContentOf(folder + "/" + kSafetensorsIndex), nullptr, /*allow_exceptions=*/false);
}

}  // namespace

RULE(FM3) {
  const World world = FirstRanks(t);
  const std::vector<PlacedTensor> tensors = TensorsNamed("floats");
  SaveWhole(t, world, tensors, InFiles(2, tensors));
  const std::string folder = t.Folder("whole");
  const Json index = IndexIn(folder);
  int64_t bytes = 0;
  for (const auto& [name, whole] : WholeState(tensors)) bytes += static_cast<int64_t>(whole.AsTensor().nbytes());
  if (!t.Rule(Holds(index.is_object() && index.contains("metadata") && index.contains("weight_map"), "the index",
                    "is missing, or has no metadata or weight_map"))) {
    return;
  }
  t.Rule(Equal<int64_t>("total_size", bytes, index["metadata"].value("total_size", int64_t{-1})));
  t.Rule(Equal<size_t>("tensors in weight_map", tensors.size(), index["weight_map"].size()));
  std::vector<std::string> problems;
  for (const auto& [name, file] : index["weight_map"].items()) {
    const auto stored = ReadSafetensors(folder + "/" + file.get<std::string>(), problems);
    t.Rule(Holds(stored.contains(name), name, "is not in " + file.get<std::string>()));
  }
  t.Rule(Holds(problems.empty(), "the files", fmt::format("{}", fmt::join(problems, "; "))));
}

RULE(FM4) {
  const World world = FirstRanks(t);
  const std::vector<PlacedTensor> tensors = TensorsNamed(t.TextParam("tensors"));
  SaveWhole(t, world, tensors, InFiles(1, tensors));
  std::vector<std::string> problems;
  const auto stored = ReadSafetensorsBelow(t.Folder("whole"), problems);
  t.Rule(Holds(problems.empty(), "the files", fmt::format("{}", fmt::join(problems, "; "))));
  for (const auto& [name, whole] : WholeState(tensors)) {
    const auto found = stored.find(ToString(name));
    if (!t.Rule(Holds(found != stored.end(), ToString(name), "is in no file"))) continue;
    t.Rule(SameValue(ToString(name), whole, found->second));
  }
}

RULE(FM2) {
  const World world = FirstRanks(t);
  if (Saves(t)) return world.Save(CodedState(t, world, kTyped), "checkpoint", {.format = "safetensors"});
  std::vector<std::string> problems;
  const auto stored = ReadSafetensorsBelow(t.Folder("checkpoint"), problems);
  t.Rule(Holds(problems.empty(), "the files", fmt::format("{}", fmt::join(problems, "; "))));
  const Dict expected = WholeState(kTyped);
  t.Rule(Equal("tensors in the files", expected.size(), stored.size()));
  for (const auto& [name, whole] : expected) {
    const auto found = stored.find(ToString(name));
    if (!t.Rule(Holds(found != stored.end(), ToString(name), "is in no file"))) continue;
    t.Rule(SameValue("in the files: " + ToString(name), whole, found->second));
  }
  t.AllGather(Value());
  const Dict loaded = world.Load(BlankState(t, world, kTyped), "checkpoint", {.format = "safetensors"});
  HasCoded(t, "what was loaded", world, kTyped, loaded);
  HoldsCoded(t, "what was read", kTyped, "checkpoint");
}

RULE(FM7) {
  const World world = FirstRanks(t);
  const std::vector<PlacedTensor> tensors = TensorsNamed("floats");
  const std::map<std::string, int64_t> file_of = {{"rows", 1}, {"columns", 3}, {"replicated", 3}, {"third", 1}, {"plain", 3}};
  SaveWhole(t, world, tensors, file_of);
  const Json index = IndexIn(t.Folder("whole"));
  if (!t.Rule(Holds(index.is_object() && index.contains("weight_map"), "the index", "is missing, or has no weight_map"))) return;
  std::vector<std::string> problems;
  for (const auto& [name, number] : file_of) {
    const std::string file = fmt::format("model-{:05}-of-00003.safetensors", number);
    t.Rule(Equal("file of " + name, file, index["weight_map"].value(name, std::string())));
    const auto stored = ReadSafetensors(t.Folder("whole") + "/" + file, problems);
    t.Rule(Holds(stored.contains(name), name, "is not in " + file));
  }
  t.Rule(Holds(problems.empty(), "the files", fmt::format("{}", fmt::join(problems, "; "))));
}

RULE(FM8) {
  const World world = FirstRanks(t);
  const std::vector<PlacedTensor> tensors = TensorsNamed("floats");
  std::map<std::string, int64_t> files = InFiles(2, tensors);
  if (t.TextParam("names") == "more") files["absent"] = 1;
  if (t.TextParam("names") == "fewer") files.erase("rows");
  world.Save(CodedState(t, world, tensors), "parts", {.format = "safetensors"});
  IsRefusedOnRank0(t, "a consolidation of other names than were saved",
                   [&] { ConsolidateCheckpoint(t.caller(), "parts", "whole", files); });
}

RULE(FM9) {
  const World world = FirstRanks(t);
  const std::vector<PlacedTensor> tensors = TensorsNamed("floats");
  std::map<std::string, int64_t> files = InFiles(2, tensors);
  if (t.rank() > 0) {
    for (auto& [name, number] : files) number = 3 - number;
  }
  world.Save(CodedState(t, world, tensors), "parts", {.format = "safetensors"});
  IsRefused(t, "ranks that give a tensor other files", {},
            [&] { ConsolidateOnEveryRank(t.caller(), "parts", "whole", files); });
}

RULE(FM16) {
  const World world = FirstRanks(t);
  const std::vector<PlacedTensor> tensors = TensorsNamed("floats");
  std::map<std::string, int64_t> files = InFiles(2, tensors);
  for (auto& [name, file] : files) file = 2 * file - 1;  // 1 and 3 of 3
  SaveWhole(t, world, tensors, files);
  HasCoded(t, "what was loaded", world, tensors,
           world.Load(BlankState(t, world, tensors), "whole", {.format = "safetensors"}));
}

RULE(FM17) {
  const World world = FirstRanks(t);
  const std::vector<PlacedTensor> tensors = TensorsNamed("floats");
  world.Save(CodedState(t, world, tensors), "parts", {.format = "safetensors"});
  ConsolidateOnEveryRank(t.caller(), "parts", "whole", InFiles(static_cast<int64_t>(tensors.size()), tensors));
  HasCoded(t, "what was loaded", world, tensors,
           world.Load(BlankState(t, world, tensors), "whole", {.format = "safetensors"}));
}

}  // namespace shardcts::storage
