// Checkpoints that PyTorch reads, too.
#include <ATen/ATen.h>
#include <caffe2/serialize/in_memory_adapter.h>
#include <caffe2/serialize/inline_container.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "contract/tensor_bytes.h"
#include "suites/storage/files_on_disk.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

const std::vector<PlacedTensor> kMany = {
    {"rows", {7, 3}, "S0"},          {"columns", {2, 5}, "S1", at::kDouble}, {"replicated", {3, 2}, "R", at::kBFloat16},
    {"plain", {4}, "", at::kHalf},   {"number", {}, "R"},                    {"ids", {6}, "S0", at::kLong},
    {"flags", {5}, "S0", at::kBool}, {"bytes", {9}, "", at::kByte},          {"shorts", {3, 3}, "S0", at::kShort},
    {"complex", {4}, "S0", at::kComplexFloat}, {"unsigned", {5}, "S0", at::kUInt16},
    {"größe \"x\"", {2}, "", at::kInt}};

const Dict kValues{{"step", 3}, {"text", "größe"}, {"list", List{1, 2.5, true, nullptr}},
                   {"bytes", Bytes{std::string("\0\xff", 2)}}, {"large", int64_t{1} << 40}};

// The archives in a data file: each ends with an end record.
std::vector<std::string> ItemsIn(const std::string& content) {
  static const std::string kEnd = "PK\x05\x06";
  constexpr size_t kEndBytes = 22;
  std::vector<std::string> items;
  size_t begin = 0;
  for (size_t end = content.find(kEnd); end != content.npos; end = content.find(kEnd, begin)) {
    items.push_back(content.substr(begin, end + kEndBytes - begin));
    begin = std::min(end + kEndBytes, content.size());
  }
  return items;
}

// The bytes of the tensors in all items, without empty ones, by LibTorch's reader.
std::vector<std::string> StoragesBelow(const std::string& folder, std::vector<std::string>& problems) {
  std::vector<std::string> storages;
  for (const auto& [name, digest] : DigestsBelow(folder)) {
    if (!name.ends_with(".distcp")) continue;
    for (const std::string& item : ItemsIn(ContentOf(folder + "/" + name))) {
      try {
        caffe2::serialize::PyTorchStreamReader reader(
            std::make_shared<caffe2::serialize::MemoryReadAdapter>(item.data(), static_cast<off_t>(item.size())));
        if (!reader.hasRecord("data/0")) continue;
        const auto [data, size] = reader.getRecord("data/0");
        if (size > 0) storages.emplace_back(static_cast<const char*>(data.get()), size);
      } catch (const c10::Error& error) {
        problems.push_back(name + ": " + error.what_without_backtrace());
      }
    }
  }
  return storages;
}

// Of each tensor the bytes of every rank's part, once.
std::vector<std::string> PartsOf(const std::vector<PlacedTensor>& tensors, const World& world) {
  std::vector<std::string> parts;
  const Dict whole = WholeState(tensors);
  for (const PlacedTensor& tensor : tensors) {
    const at::Tensor& values = whole.At(tensor.name).AsTensor();
    if (tensor.placements.empty() || tensor.placements == "R") {
      parts.push_back(TensorBytes(values));
      continue;
    }
    for (const int64_t rank : world.ranks()) {
      const DTensor part = PartOf(values, world.layout(), PlacementsOf(tensor.placements), rank);
      if (part.local.numel() > 0) parts.push_back(TensorBytes(part.local));
    }
  }
  return parts;
}

void SaveMany(Trial& t, const World& world) {
  world.Save({{"tensors", CodedState(t, world, kMany)}, {"values", kValues}}, "checkpoint", {.format = "dcp"});
  t.AllGather(Value());
  std::vector<std::string> problems, storages = StoragesBelow(t.Folder("checkpoint"), problems),
                                     parts = PartsOf(kMany, world);
  t.Rule(Holds(problems.empty(), "the items", fmt::format("{}", fmt::join(problems, "; "))));
  std::ranges::sort(storages);
  std::ranges::sort(parts);
  t.Rule(Equal("chunks in the items", parts.size(), storages.size()));
  t.Rule(Holds(parts == storages, "the items", "have other bytes than the ranks' parts"));
}

}  // namespace

RULE(FM1) {
  const World world = FirstRanks(t);
  if (Saves(t)) return SaveMany(t, world);
  Dict values;
  for (const auto& [name, value] : kValues) values.Set(name, 0);
  const Dict loaded =
      world.Load({{"tensors", BlankState(t, world, kMany)}, {"values", values}}, "checkpoint", {.format = "dcp"});
  HasCoded(t, "what was loaded", world, kMany, loaded.At("tensors").AsDict());
  t.Rule(SameValue("the values", kValues, loaded.At("values")));
}

}  // namespace shardcts::storage
