// Checkpoints that are damaged in many ways, which the run's seed chooses.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>

#include "contract/tensor_bytes.h"
#include "rank/run_seed.h"
#include "rank/session.h"
#include "suites/rules/coded.h"
#include "suites/storage/damage.h"
#include "suites/storage/forged.h"
#include "suites/storage/rule.h"
#include "suites/storage/versions.h"

namespace shardcts::storage {
namespace {

namespace fs = std::filesystem;

constexpr int kDamages = 60;           // of one test
constexpr double kLongestSeconds = 20;  // of a load of some KB
constexpr int64_t kMostKib = 256 << 10;

// A right checkpoint, what it has, and where it is loaded to.
struct Golden {
  CheckpointFiles files;
  std::vector<std::string> data;  // of tensors, as they are in the files
  Dict expected, destination;     // of this rank
  Dict wholes;
  CheckpointLoadOptions options;
};

const std::vector<PlacedTensor> kWhole = {{"first", {6, 5}, "S0"}, {"second", {20, 10}, "S0"}, {"third", {5}, "R"}};

Golden SavedGolden(Trial& t, const World& world, const std::string& made) {
  Golden golden;
  golden.expected = CodedState(t, world, kWhole), golden.destination = BlankState(t, world, kWhole);
  golden.wholes = WholeState(kWhole);
  if (made != "safetensors") {
    golden.expected.Set("step", 1234567), golden.destination.Set("step", 0), golden.wholes.Set("step", 1234567);
  }
  golden.options.format = made == "own" ? "" : made;
  world.Save(golden.expected, "golden", {.format = golden.options.format});
  for (const PlacedTensor& tensor : kWhole) {
    const at::Tensor whole = golden.wholes.At(tensor.name).AsTensor();
    for (const int64_t rank : world.ranks())
      golden.data.push_back(TensorBytes(PartOf(whole, world.layout(), PlacementsOf(tensor.placements), rank).local));
  }
  t.AllGather(Value());
  golden.files = FilesBelow(t.Folder("golden"));
  return golden;
}

CheckpointFiles FilesOf(const Forgery& forgery) {
  CheckpointFiles files{forgery.files, {}};
  files.files[".metadata"] = forgery.metadata.Pickled();
  return files;
}

Golden ForgedGolden(const Trial& t, const World& world) {
  const at::Tensor whole = at::arange(12, at::kFloat).reshape({4, 3});
  Golden golden;
  golden.files = FilesOf(RightForgery());
  golden.data = {TensorBytes(whole.narrow(0, 0, 2)), TensorBytes(whole.narrow(0, 2, 2))};
  golden.destination = ForgedDestination(t, world);
  golden.wholes = {{"weight", whole}, {"step", 3}};
  golden.expected = {{"weight", PartOf(whole, world.layout(), PlacementsOf("S0"), t.rank())}, {"step", 3}};
  golden.options.format = "dcp";
  return golden;
}

int64_t& Any(std::vector<int64_t>& numbers, std::mt19937_64& random) { return numbers[random() % numbers.size()]; }

// One field of the metadata becomes another.
Damaged DamageFields(uint64_t seed) {
  std::mt19937_64 random(seed);
  Forgery forgery = RightForgery();
  ForgedTensor& weight = forgery.metadata.tensors[0];
  ForgedPlace& place = forgery.metadata.places[random() % forgery.metadata.places.size()];
  auto& [offsets, sizes] = weight.chunks[random() % 2];
  const int64_t number = EdgeNumber(random());
  static const std::array<std::string, 7> kFiles = {"../outside", "/etc/passwd", "", ".", "inner/../a.distcp",
                                                    std::string("b.distcp\0", 9), std::string(5000, 'n')};
  const std::string file = kFiles[random() % kFiles.size()];
  const auto done = [&](const std::string& text) { return Damaged{FilesOf(forgery), ".metadata: " + text}; };
  const std::string of_place = place.name + " in " + place.file;
  switch (random() % 10) {
    case 0: return place.offset = number, done(fmt::format("{} is at byte {}", of_place, number));
    case 1: return place.length = number, done(fmt::format("{} has {} bytes", of_place, number));
    case 2: return place.file = file, done(fmt::format("{} is in \"{}\"", of_place, file.substr(0, 20)));
    case 3: return Any(weight.shape, random) = number, done(fmt::format("{} is in the shape", number));
    case 4: return Any(offsets, random) = number, done(fmt::format("{} is an offset of a chunk", number));
    case 5: return Any(sizes, random) = number, done(fmt::format("{} is a size of a chunk", number));
    case 6: return weight.shape.assign(1 + random() % 200, number), done(fmt::format("a shape of many {}", number));
    case 7:
      return weight.chunks.push_back({{number, 0}, {2, 3}}), done(fmt::format("one more chunk, at {}", number));
    case 8:
      return forgery.metadata.places.push_back({"weight", {number, 0}, false, "b.distcp", 0, number}),
             done("one more place");
    default:
      return forgery.metadata.more = {{"note", std::string(1 + random() % 5000, '(')}}, done("marks without an end");
  }
}

int64_t PeakKib() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    int64_t kib = 0;
    if (word == "VmHWM:" && status >> kib) return kib;
  }
  return 0;
}

// "": refused. Else what came: "right", or which name has other values.
std::string WhatCame(const Dict& expected, const std::function<Dict()>& load) {
  Dict loaded;
  try {
    loaded = load();
  } catch (const OperationFailed&) {
    return {};
  }
  for (const auto& [name, value] : expected) {
    const Value* found = loaded.Find(name);
    if (found && !SameValue("", value, *found).ok) return "\"" + ToString(name) + "\" with other values";
  }
  return "right";
}

// Evaluates the rule for one damaged checkpoint in the folder.
void Judge(Trial& t, const World& world, const Golden& golden, const std::string& what) {
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak begins here
  const int64_t before = PeakKib();
  const auto begin = std::chrono::steady_clock::now();
  const Dict destination = t.subject().Clone(golden.destination).AsDict();
  const std::string loaded =
      WhatCame(golden.expected, [&] { return world.Load(destination, "damaged", golden.options); });
  const std::string read =
      WhatCame(golden.wholes, [&] { return ReadCheckpoint(t.caller(), "damaged"); });
  IsDescribedComplete(t, "damaged");
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  const int64_t kib = PeakKib() - before;
  t.Rule(Holds(loaded.empty() || loaded == "right", what, "expected an error or what was saved, actual " + loaded));
  t.Rule(Holds(read.empty() || read == "right", what + ", read", "expected an error or what was saved, actual " + read));
  t.Rule(Holds(taken.count() < kLongestSeconds, what, fmt::format("took {:.0f} s", taken.count())));
  t.Rule(Holds(kib < kMostKib, what, fmt::format("took {} MiB of memory", kib >> 10)));
  size_t refused = 0;
  for (const Value& one : t.AllGather(loaded.empty())) refused += one.AsBool() ? 1 : 0;
  const bool alike = refused == 0 || refused == static_cast<size_t>(t.world_size());
  t.Rule(Holds(alike, what, fmt::format("{} of {} ranks have an error", refused, t.world_size())));
}

}  // namespace

RULE(HX11) {
  const World world = FirstRanks(t);
  const std::string made = t.TextParam("made");
  const bool forged = made == "forged";
  const Golden golden = forged ? ForgedGolden(t, world) : SavedGolden(t, world, made);
  std::mt19937_64 random(static_cast<uint64_t>(RunSeed()));
  for (int i = 0; i < kDamages; ++i) {
    const uint64_t seed = random();
    const bool of_fields = forged && i % 2 == 0;
    std::string what;
    Rank0Does(t, [&] {
      const Damaged damaged = of_fields ? DamageFields(seed) : Damage(golden.files, golden.data, seed);
      WriteFiles(damaged.files, t.Folder("damaged"));
      what = damaged.text;
    });
    Judge(t, world, golden, fmt::format("seed {}, damage {}: {}", RunSeed(), i, t.FromRank0(what).AsString()));
    Rank0Does(t, [&] { fs::remove_all(t.Folder("damaged")); });
  }
}

}  // namespace shardcts::storage
