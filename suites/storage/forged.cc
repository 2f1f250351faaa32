#include "suites/storage/forged.h"

#include <ATen/ATen.h>

#include <filesystem>
#include <fstream>

#include "rank/session.h"

namespace shardcts::storage {
namespace {

namespace fs = std::filesystem;

at::Tensor WholeWeight() { return at::arange(12, at::kFloat).reshape({4, 3}); }

int64_t SizeOf(const std::string& content) { return static_cast<int64_t>(content.size()); }

}  // namespace

ForgedPlace& Forgery::PlaceOf(const std::string& file) {
  for (ForgedPlace& place : metadata.places) {
    if (place.file == file && !place.is_value) return place;
  }
  throw HarnessError("no place in " + file);
}

void Forgery::Replace(const std::string& file, const std::string& item) {
  ForgedPlace& place = PlaceOf(file);
  place.offset = SizeOf(files[file]);
  place.length = SizeOf(item);
  files[file] += item;
}

void Forgery::ReplaceValue(const std::string& item) {
  for (ForgedPlace& place : metadata.places) {
    if (!place.is_value) continue;
    place.offset = SizeOf(files[place.file]);
    place.length = SizeOf(item);
    files[place.file] += item;
  }
}

Forgery RightForgery() {
  const std::string value = ForgedValueItem(PickledInt(3)), first = ForgedTensorItem({2, 3}, 0),
                    second = ForgedTensorItem({2, 3}, 6);
  Forgery forgery;
  forgery.files = {{"a.distcp", value + first}, {"b.distcp", second}};
  forgery.metadata.tensors = {{"weight", {4, 3}, {{{0, 0}, {2, 3}}, {{2, 0}, {2, 3}}}, ""}};
  forgery.metadata.values = {"step"};
  forgery.metadata.places = {{"step", {}, true, "a.distcp", 0, SizeOf(value)},
                             {"weight", {0, 0}, false, "a.distcp", SizeOf(value), SizeOf(first)},
                             {"weight", {2, 0}, false, "b.distcp", 0, SizeOf(second)}};
  return forgery;
}

void Write(Trial& t, const Forgery& forgery, const std::string& folder) {
  Rank0Does(t, [&] {
    const fs::path path = t.Folder(folder);
    fs::create_directories(path);
    for (const auto& [name, content] : forgery.files) std::ofstream(path / name, std::ios::binary) << content;
    std::ofstream(path / ".metadata", std::ios::binary) << forgery.metadata.Pickled();
  });
}

Dict ForgedDestination(const Trial& t, const World& world) {
  const at::Tensor blank = at::full({4, 3}, -1, at::kFloat);
  return {{"weight", PartOf(blank, world.layout(), PlacementsOf("S0"), t.rank())}, {"step", 0}};
}

void HasForged(Trial& t, std::string_view what, const World& world, const Dict& loaded) {
  const DTensor expected = PartOf(WholeWeight(), world.layout(), PlacementsOf("S0"), t.rank());
  t.Rule(SameValue(fmt::format("{}: weight", what), expected.local, loaded.At("weight").AsDTensor().local));
  t.Rule(SameValue(fmt::format("{}: step", what), 3, loaded.At("step")));
}

void ForgeryIsRefused(Trial& t, std::string_view what, const Forgery& forgery, const std::vector<std::string>& texts) {
  const World world = FirstRanks(t);
  Write(t, forgery);
  IsRefused(t, what, texts, [&] { world.Load(ForgedDestination(t, world), "checkpoint", {.format = "dcp"}); });
}

void ForgeryIsHarmless(Trial& t, std::string_view what, const Forgery& forgery) {
  const World world = FirstRanks(t);
  Write(t, forgery);
  Dict loaded;
  try {
    loaded = world.Load(ForgedDestination(t, world), "checkpoint", {.format = "dcp"});
  } catch (const OperationFailed&) {
    return t.Rule({}), void();
  }
  HasForged(t, what, world, loaded);
}

}  // namespace shardcts::storage
