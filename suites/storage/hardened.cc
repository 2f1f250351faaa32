// Files that are damaged or do not belong there, and ranks that contradict each other.
#include <ATen/ATen.h>

#include <filesystem>
#include <fstream>

#include "contract/tensor_bytes.h"
#include "rank/session.h"
#include "suites/rules/coded.h"
#include "suites/storage/files_on_disk.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

namespace fs = std::filesystem;

const std::vector<PlacedTensor> kDamaged = {{"first", {6, 5}, "S0"}, {"second", {40, 50}, "S0"}, {"third", {5}, "R"}};

// The checkpoint's files, below its folder. *Collective*.
std::vector<std::string> FilesOf(Trial& t, const std::string& checkpoint) {
  std::vector<std::string> names;
  for (const auto& [name, digest] : DigestsBelow(t.Folder(checkpoint))) names.push_back(name);
  return t.FromRank0(ToValue(names)).AsStrings();
}

}  // namespace

RULE(LD5) {
  // The first tensor is in one rank's file, whole; the file that is damaged has part of the second only.
  const std::vector<PlacedTensor> tensors = {{"first", {1, 5}, "S0"}, {"second", {40, 50}, "S0"}};
  const World world = FirstRanks(t);
  const Dict state = CodedState(t, world, tensors);
  world.Save(state, "checkpoint");
  Rank0Does(t, [&] {
    const std::string folder = t.Folder("checkpoint");
    const fs::path kept = FindBytes(folder, TensorBytes(state.At("first").AsDTensor().local)).first;
    const fs::path damaged = LargestBelow(folder, kept.string());
    fs::resize_file(damaged, fs::file_size(damaged) / 2);
  });
  const Dict destination = BlankState(t, world, tensors), before = t.subject().Clone(destination).AsDict();
  IsRefused(t, "a load from a short file", {}, [&] { world.Load(destination, "checkpoint"); });
  t.Rule(SameValue("what was given", before, destination));
}

RULE(HX3) {
  const World world = FirstRanks(t);
  const std::string format = FormatOf(t);
  const auto load = [&] { return world.Load(BlankState(t, world, kDamaged), "checkpoint", {.format = format}); };
  world.Save(CodedState(t, world, kDamaged), "checkpoint", {.format = format});
  for (const std::string& name : FilesOf(t, "checkpoint")) {
    const fs::path path = t.Folder("checkpoint") + "/" + name;
    const std::string content = ContentOf(path);
    for (int part = 0; part < 8; ++part) {
      const size_t cut = content.size() * static_cast<size_t>(part) / 8;
      Rank0Does(t, [&] { fs::resize_file(path, cut); });
      IsRefused(t, fmt::format("{} cut to {} bytes", name, cut), {}, load);
      Rank0Does(t, [&] { std::ofstream(path, std::ios::binary) << content; });
    }
  }
  HasCoded(t, "the whole files", world, kDamaged, load());
}

RULE(HX14) {
  const World world = FirstRanks(t);
  const std::string format = FormatOf(t);
  world.Save(CodedState(t, world, kDamaged), "checkpoint", {.format = format});
  for (const std::string& name : FilesOf(t, "checkpoint")) {
    if (format == "safetensors" && fs::path(name).extension() != ".safetensors") continue;  // an index need not be there
    const fs::path path = t.Folder("checkpoint") + "/" + name, away = t.Folder("away");
    Rank0Does(t, [&] { fs::rename(path, away); });
    IsRefused(t, "a load without " + name, {},
              [&] { world.Load(BlankState(t, world, kDamaged), "checkpoint", {.format = format}); });
    Rank0Does(t, [&] { fs::rename(away, path); });
  }
}

RULE(HX4) {
  const World world = FirstRanks(t);
  const std::string format = FormatOf(t), note(200, 'n');
  Dict state = CodedState(t, world, kDamaged), blank = BlankState(t, world, kDamaged);
  std::map<std::string, std::string> stored;
  for (const PlacedTensor& tensor : kDamaged) stored[tensor.name] = TensorBytes(state.At(tensor.name).AsDTensor().local);
  if (format != "safetensors") stored["note"] = note, state.Set("note", note), blank.Set("note", "");
  const auto load = [&] { return world.Load(t.subject().Clone(blank).AsDict(), "checkpoint", {.format = format}); };
  world.Save(state, "checkpoint", {.format = format});
  for (const auto& [name, bytes] : stored) {
    std::pair<std::string, size_t> found;
    Rank0Does(t, [&] {
      found = FindBytes(t.Folder("checkpoint"), bytes);
      found.second += bytes.size() / 2;
      if (t.Rule(Holds(!found.first.empty(), name, "is in no file as it is in memory"))) FlipBit(found.first, found.second);
    });
    IsRefused(t, "a load of a changed part of " + name, {}, load);
    Rank0Does(t, [&] {
      if (!found.first.empty()) FlipBit(found.first, found.second);
    });
  }
  t.Rule(SameValue("with the bits of before", state, load()));
}

RULE(HX10) {
  const World world = FirstRanks(t);
  const std::string format = FormatOf(t);
  world.Save(CodedState(t, world, kDamaged), "checkpoint", {.format = format});
  world.Save(BlankState(t, world, kDamaged), "other", {.format = format});
  Rank0Does(t, [&] {
    const std::string folder = t.Folder("checkpoint");
    std::ofstream(folder + "/notes.txt") << "nothing of a checkpoint";
    std::ofstream(folder + "/shard-00009-model-00001-of-00001.safetensors") << "no safetensors";
    std::ofstream(folder + "/__9_0.distcp") << "no archive";
    std::ofstream(folder + "/.metadata.tmp") << "no pickle";
    const std::string data = LargestBelow(t.Folder("other"));
    fs::copy_file(data, folder + "/copy-of-" + fs::path(data).filename().string());
    fs::create_directory(folder + "/folder");
  });
  HasCoded(t, "what was loaded", world, kDamaged,
           world.Load(BlankState(t, world, kDamaged), "checkpoint", {.format = format}));
  HoldsCoded(t, "what was read", kDamaged, "checkpoint");
}

RULE(RK3) {
  const World world = FirstRanks(t);
  const bool is_last = t.rank() == t.world_size() - 1;
  const std::string differs = t.TextParam("differs");
  const Value usual = rules::Coded({4}, 1);
  const Value other = differs == "shape"   ? Value(rules::Coded({6}, 1))
                      : differs == "dtype" ? Value(rules::Coded({4}, 1, 0, at::kDouble))
                                           : Value("no tensor");
  IsRefused(t, "a save of ranks that contradict each other", {"common"},
            [&] { world.Save({{"common", is_last ? other : usual}}, "checkpoint"); });
}

RULE(CR9) {
  const World many = FirstRanks(t), few = FirstRanks(t, 2);
  std::vector<PlacedTensor> later = kDamaged;
  later.erase(later.begin());
  many.Save(BlankState(t, many, kDamaged), "checkpoint");
  few.Save(CodedState(t, few, later), "checkpoint");
  HasCoded(t, "what was loaded", many, later, many.Load(BlankState(t, many, later), "checkpoint"));
  HoldsCoded(t, "what was read", later, "checkpoint");
  IsRefused(t, "a load of a name that only the first save had", {"first"},
            [&] { many.Load(BlankState(t, many, kDamaged), "checkpoint"); });
}

RULE(SC4) {
  const World world = FirstRanks(t);
  std::vector<PlacedTensor> tensors;
  for (int i = 0; i < 60; ++i) tensors.push_back({fmt::format("tensor{}", i), {8, 3}, i % 2 ? "S0" : "R"});
  world.Save(CodedState(t, world, tensors), "checkpoint");
  t.AllGather(Value());
  const size_t files = DigestsBelow(t.Folder("checkpoint")).size(), most = static_cast<size_t>(t.world_size()) + 2;
  t.Rule(Holds(files <= most, "the checkpoint", fmt::format("has {} files, at most {} are expected", files, most)));
}

RULE(HX12) {
  const World world = FirstRanks(t);
  const PlacedTensor& changed = kDamaged.front();
  const Dict state = CodedState(t, world, kDamaged);
  world.Save(state, "parts", {.format = "safetensors"});
  bool found = false;
  Rank0Does(t, [&] {
    const std::string bytes = TensorBytes(state.At(changed.name).AsDTensor().local);
    const auto [file, offset] = FindBytes(t.Folder("parts"), bytes);
    found = !file.empty();
    if (found) FlipBit(file, offset + bytes.size() / 2);
  });
  if (!t.Rule(Holds(t.FromRank0(found).AsBool(), changed.name, "is in no file as it is in memory"))) return;
  IsRefusedOnRank0(t, "a consolidation of a changed part",
                   [&] { ConsolidateCheckpoint(t.caller(), "parts", "whole", {}); });
}

}  // namespace shardcts::storage
