// What saves and loads cost: files, bytes, memory, time.
#include <ATen/ATen.h>

#include <filesystem>
#include <fstream>

#include <time.h>

#include "rank/session.h"
#include "suites/storage/files_on_disk.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

// A number in a file of /proc/self, behind this word.
int64_t ProcessNumber(const std::string& file, const std::string& word) {
  std::ifstream text("/proc/self/" + file);
  for (std::string read; text >> read;) {
    if (int64_t number = 0; read == word && text >> number) return number;
  }
  throw HarnessError(fmt::format("/proc/self/{} has no {}", file, word));
}

// Bytes of memory that this process has had at most while `body` ran, beyond what it had before.
int64_t PeakGrowth(const std::function<void()>& body) {
  std::ofstream("/proc/self/clear_refs") << "5";
  const int64_t before = ProcessNumber("status", "VmRSS:");
  body();
  return (ProcessNumber("status", "VmHWM:") - before) * 1024;
}

// Bytes that this process has read from files while `body` ran.
int64_t BytesRead(const std::function<void()>& body) {
  const int64_t before = ProcessNumber("io", "rchar:");
  body();
  return ProcessNumber("io", "rchar:") - before;
}

// Seconds of processors that this process has used while `body` ran: other processes do not count.
double SecondsOf(const std::function<void()>& body) {
  const auto used = [] {
    timespec time = {};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double before = used();
  body();
  return used() - before;
}

// Element i of every tensor is i, beyond what it is as a destination.
Dict LargeState(const Trial& t, const World& world, int64_t tensors, int64_t bytes, bool blank) {
  Dict state;
  const int64_t elements = bytes / 4;
  for (int64_t i = 0; i < tensors; ++i) {
    DTensor part;
    part.local = blank ? at::zeros({elements}) : at::arange(elements, at::kFloat) + t.rank();
    part.mesh = world.layout();
    part.placements = PlacementsOf("S0");
    part.shape = {elements * t.world_size()};
    part.stride = {1};
    state.Set(fmt::format("tensor{}", i), part);
  }
  return state;
}

Dict Numbered(int64_t count) {
  Dict state;
  for (int64_t i = 0; i < count; ++i) state.Set(fmt::format("layers.{}.scale", i), at::full({1}, static_cast<double>(i)));
  return state;
}

}  // namespace

RULE(RK2) {
  const World world = FirstRanks(t);
  const bool lowest = t.TextParam("writer") == "lowest";
  std::vector<PlacedTensor> tensors;
  int64_t bytes = 0;
  for (int64_t i = 0; i < 40; ++i) {
    const int64_t rows = 16 * (i % 7 + 1);
    tensors.push_back({fmt::format("tensor{}", i), {rows, 32}, i % 2 ? "R" : ""});
    bytes += rows * 32 * 4;
  }
  world.Save(CodedState(t, world, tensors), "checkpoint", {.lowest_rank = lowest});
  t.AllGather(Value());
  const double largest = static_cast<double>(std::filesystem::file_size(LargestBelow(t.Folder("checkpoint"))));
  const double all = static_cast<double>(BytesBelow(t.Folder("checkpoint"))), ranks = t.world_size();
  const std::string said = fmt::format("has {} of {} bytes on disk, for {} of data on {} ranks", largest, all, bytes, ranks);
  if (lowest) return t.Rule(Holds(largest >= static_cast<double>(bytes), "the largest file", said)), void();
  t.Rule(Holds(largest <= 1.2 * all / ranks, "the largest file", said));
}

RULE(SC1) {
  constexpr int64_t kTensors = 6, kBytes = 24 * kMiB, kMost = kBytes + 64 * kMiB;
  const World world = FirstRanks(t);
  const Dict state = LargeState(t, world, kTensors, kBytes, false);
  const auto is_small = [&](const std::string& what, int64_t bytes) {
    t.Rule(Holds(bytes <= kMost, what, fmt::format("took {} MiB more memory, at most {} are expected", bytes / kMiB,
                                                   kMost / kMiB)));
  };
  SaveCheckpoint(t.caller(), {{"small", at::ones({4})}}, "first");  // what is loaded once
  is_small("the save", PeakGrowth([&] { world.Save(state, "checkpoint"); }));
  const Dict destination = LargeState(t, world, kTensors, kBytes, true);
  LoadCheckpoint(t.caller(), {{"small", at::zeros({4})}}, "first");
  is_small("the load", PeakGrowth([&] { world.Load(destination, "checkpoint"); }));
  for (const auto& [name, value] : state) t.Rule(SameValue(ToString(name), value, destination.At(name)));
}

RULE(SC2) {
  // Of each two tensors one is sharded over all ranks, one is on every rank.
  const auto layout_of = [](int64_t ranks, int64_t tensors) {
    HeldLayout layout{.ranks = ranks, .tensors = {}, .values = {}};
    HeldTensorLayout sharded{.shape = {ranks}, .chunks = {}}, replicated{.shape = {8}, .chunks = {}};
    for (int64_t rank = 0; rank < ranks; ++rank) {
      sharded.chunks.push_back({rank, {{rank}, {1}}});
      replicated.chunks.push_back({rank, {{0}, {8}}});
    }
    for (int64_t i = 0; i < tensors; ++i)
      layout.tensors.emplace_back(fmt::format("tensor{}", i), i % 2 ? replicated : sharded);
    return layout;
  };
  const auto takes = [&](int64_t ranks, int64_t tensors, double most) {
    const HeldLayout layout = layout_of(ranks, tensors);
    SavePlan plan;
    const double seconds = SecondsOf([&] { plan = PlanSave(t.caller(), layout); });
    t.Rule(Equal("chunks of a sharded tensor", static_cast<size_t>(ranks), plan.chunks.at("tensor0").size()));
    t.Rule(Equal<size_t>("chunks of a replicated tensor", 1, plan.chunks.at("tensor1").size()));
    return t.Rule(Holds(seconds <= most, fmt::format("{} tensors on {} ranks", tensors, ranks),
                        fmt::format("took {:.2f} s of a processor, {} are expected", seconds, most)));
  };
  if (takes(512, 100, 0.5)) takes(4096, 1000, 10);
}

RULE(AS8) {
  constexpr int64_t kBytes = 48 * kMiB;
  const World world = FirstRanks(t);
  const Dict state = LargeState(t, world, 1, kBytes, false);
  const auto save = [&] { SaveCheckpointAsync(t.caller(), state, "checkpoint").Wait(); };
  save();  // what is loaded, or kept for the next save, once
  const int64_t before = ProcessNumber("status", "VmRSS:");
  for (int i = 0; i < 3; ++i) save();
  const int64_t grown = (ProcessNumber("status", "VmRSS:") - before) / 1024;
  t.Rule(Holds(grown <= 24, "three saves more", fmt::format("left {} MiB of memory in use", grown)));
}

RULE(SC3) {
  constexpr int64_t kFew = 500, kMost = 20'000;
  const auto seconds = [&](int64_t count) {
    const Dict state = Numbered(count), destination = Numbered(count);
    const double save = SecondsOf([&] { SaveCheckpoint(t.caller(), state, "names"); });
    return save + SecondsOf([&] { LoadCheckpoint(t.caller(), destination, "names"); });
  };
  // As many names as are done in some three seconds.
  seconds(kFew);
  const double few = seconds(kFew);
  const double possible = kFew * std::max(1.0, 3 / few);
  const int64_t many = t.FromRank0(static_cast<int64_t>(std::min<double>(kMost, possible))).AsInt() / 4 * 4;
  const double quarter = seconds(many / 4), all = seconds(many);
  t.Rule(Holds(all <= 6 * quarter + 0.5, fmt::format("{} names", many),
               fmt::format("took {:.2f} s of a processor, a quarter of them {:.2f} s", all, quarter)));
}

RULE(SC6) {
  constexpr int64_t kBytes = kMiB;
  const World world = FirstRanks(t);
  world.Save(LargeState(t, world, 1, 64, false), "first");
  world.Load(LargeState(t, world, 1, 64, true), "first");  // what is loaded once
  const Dict state = LargeState(t, world, 1, kBytes, false), destination = LargeState(t, world, 1, kBytes, true);
  world.Save(state, "checkpoint");
  const int64_t read = BytesRead([&] { world.Load(destination, "checkpoint"); });
  t.Rule(SameValue("what was loaded", state, destination));
  // Once to check them, once to fill the shard.
  t.Rule(Holds(read <= 2 * kBytes + kBytes / 2, "the load of a quarter of the tensor",
               fmt::format("read {} bytes; the quarter has {}", read, kBytes)));
}

}  // namespace shardcts::storage
