// What a check of a checkpoint finds without loading it.
#include <fmt/ranges.h>

#include <filesystem>
#include <fstream>

#include "contract/tensor_bytes.h"
#include "suites/storage/files_on_disk.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"
#include "suites/storage/safetensors_files.h"

namespace shardcts::storage {
namespace {

namespace fs = std::filesystem;

const std::vector<PlacedTensor> kTensors = {{"first", {6, 5}, "S0"}, {"second", {40, 50}, "S0"}, {"third", {5}, "R"}};

// Into "checkpoint": in a format, or as numbered files that are said to be all of a model. *Collective*.
void Make(Trial& t, const World& world, const std::string& made) {
  if (made != "numbered") return world.Save(CodedState(t, world, kTensors), "checkpoint", {.format = FormatOf(t)});
  world.Save(CodedState(t, world, kTensors), "parts", {.format = "safetensors"});
  const std::map<std::string, int64_t> files{{"first", 1}, {"second", 2}, {"third", 3}};
  Rank0Does(t, [&] {
    ConsolidateCheckpoint(t.caller(), "parts", "checkpoint", files);
    fs::remove(t.Folder("checkpoint") + "/" + kSafetensorsIndex);  // the names alone say what there is
  });
}

// Where a file has what this rank holds of the second tensor; an empty path: none has.
std::pair<fs::path, size_t> PlaceOfData(Trial& t, const World& world) {
  const DTensor part = CodedState(t, world, kTensors).At("second").AsDTensor();
  const auto [file, offset] = FindBytes(t.Folder("checkpoint"), TensorBytes(part.local));
  return {file, offset};
}

// Whether the check complains of the checkpoint, or fails.
bool IsFoundWrong(Trial& t) {
  try {
    return !VerifyCheckpoint(t.caller(), "checkpoint").empty();
  } catch (const OperationFailed&) {
    return true;
  }
}

}  // namespace

RULE(HX13) {
  const World world = FirstRanks(t);
  const std::string damage = t.TextParam("damage"), format = t.TextParam("format");
  const bool only_tensors = format == "safetensors" || format == "numbered";  // what else is there need not be
  Make(t, world, format);
  std::vector<std::string> not_found;
  Rank0Does(t, [&] {
    const fs::path folder = t.Folder("checkpoint");
    for (const auto& [name, digest] : DigestsBelow(folder)) {
      const std::string content = ContentOf(folder / name);
      if (content.empty() || (only_tensors && fs::path(name).extension() != ".safetensors")) continue;
      fs::remove(folder / name);
      if (damage == "cut") std::ofstream(folder / name, std::ios::binary) << content.substr(0, content.size() - 1);
      if (damage == "longer") std::ofstream(folder / name, std::ios::binary) << content << 'x';
      if (!IsFoundWrong(t)) not_found.push_back(name);
      std::ofstream(folder / name, std::ios::binary) << content;
    }
  });
  t.Rule(Holds(not_found.empty(), "a file, " + damage + ",", fmt::format("is not found: {}", fmt::join(not_found, ", "))));
  t.Rule(Equal("what the whole checkpoint is said to be", false, IsFoundWrong(t)));
}

RULE(HX15) {
  const World world = FirstRanks(t);
  Make(t, world, t.TextParam("format"));
  const std::pair<fs::path, size_t> place = PlaceOfData(t, world);
  if (!t.FromRank0(!place.first.empty()).AsBool()) throw OptionNotSupported("no file has a tensor's bytes as they are");
  Rank0Does(t, [&] { FlipBit(place.first, place.second + 2); });
  t.Rule(Equal("whether a changed bit of a tensor is found", true, IsFoundWrong(t)));
}

}  // namespace shardcts::storage
