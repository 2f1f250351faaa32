// Ranks that are killed in the middle of a save.
#include <filesystem>

#include "inventory/phases.h"
#include "rank/rank_number.h"
#include "rank/session.h"
#include "suites/storage/crash_points.h"
#include "suites/storage/rule.h"
#include "suites/storage/versions.h"

namespace shardcts::storage {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBase = "base";  // what a save overwrites

void SaveBase(Trial& t, const World& world, const std::string& format = {}) {
  world.Save(VersionState(t, world, kOldVersion), std::string(kBase) + "/checkpoint", {.format = format});
}

// On one rank.
void CopyBase(const Trial& t, const std::string& folder) {
  fs::create_directories(t.Folder(folder));
  if (fs::exists(t.Folder(kBase))) fs::copy(t.Folder(kBase), t.Folder(folder), fs::copy_options::recursive);
}

SaveOptions Options(const Trial& t) {
  SaveOptions options;
  if (t.IntParam("threads") > 1) options.threads = t.IntParam("threads");
  return options;
}

// The phase "save": writes the points of a first save, or of one that overwrites.
void FindPoints(Trial& t, const World& world, const SaveOptions& options, int64_t at_most) {
  Rank0Does(t, [&] { CopyBase(t, "seen"); });
  const SeenSave seen =
      Watch(t, "seen", [&] { world.Save(VersionState(t, world, kNewVersion), "seen/checkpoint", options); });
  RequireSeen(seen);
  WritePoints(t, CrashPointsOf(seen.operations, at_most));
}

// The phase "crash".
void Crash(Trial& t, const SaveOptions& options) {
  const World world = FirstRanks(t);
  TryPoints(
      t, [&](size_t index) { CopyBase(t, PointFolder(index)); },
      [&](size_t index) { world.Save(VersionState(t, world, kNewVersion), PointCheckpoint(index), options); });
}

// The first phases of every rule here; true: the last one is still to do.
bool CrashesAreOver(Trial& t, bool overwrites) {
  if (t.Phase().role == "save") {
    const World world = FirstRanks(t);
    if (overwrites) SaveBase(t, world);
    FindPoints(t, world, Options(t), t.IntParam("points"));
  }
  if (t.Phase().role == "crash") Crash(t, Options(t));
  return t.Phase().role == "load";
}

// The same where the save differs from the one before in its format or its ranks.
bool CrashesOfOthersAreOver(Trial& t) {
  const std::string change = t.TextParam("change");
  SaveOptions options = Options(t);
  if (change == "to_dcp") options.format = "dcp";
  if (t.Phase().role == "save") {
    SaveBase(t, FirstRanks(t), change == "from_dcp" ? "dcp" : "");
    FindPoints(t, FirstRanks(t, t.Phases().at(1).world_size), options, t.IntParam("points"));
  }
  if (t.Phase().role == "crash") Crash(t, options);
  return t.Phase().role == "load";
}

// Calls `judge` for each point, with what its folder loads as.
void ForEachPoint(Trial& t, const World& world,
                  const std::function<void(size_t index, const CrashPoint&, const Loaded&)>& judge) {
  const std::vector<CrashPoint> points = ReadPoints(t);
  t.Rule(Holds(!points.empty(), "the points of the save", "there are some"));
  for (size_t index = 0; index < points.size(); ++index) {
    judge(index, points[index], WhatLoads(t, world, PointCheckpoint(index)));
  }
}

// mpiexec and srun end all ranks when one dies: then none can come back.
void RequireRanksOfTheirOwn(int ranks) {
  const std::optional<RankNumber> launched = RankNumberOfLauncher();
  if (!launched || launched->world_size != ranks) return;
  throw OptionNotSupported("the launcher of the ranks ends all of them when one dies");
}

}  // namespace

RULE(CR1) {
  if (!CrashesAreOver(t, false)) return;
  const World world = FirstRanks(t);
  ForEachPoint(t, world, [&](size_t index, const CrashPoint& point, const Loaded& loaded) {
    const bool whole = loaded.version == kNewVersion;
    t.Rule(Holds(loaded.refused || whole, point.text,
                 "expected an error of the load or all of version 2, actual " + loaded.text));
    const bool complete = IsDescribedComplete(t, PointCheckpoint(index));
    t.Rule(Holds(whole || !complete, point.text, "what cannot be loaded is described as complete"));
  });
}

RULE(CR2) {
  if (!CrashesAreOver(t, true)) return;
  ForEachPoint(t, FirstRanks(t), [&](size_t, const CrashPoint& point, const Loaded& loaded) {
    const bool old_or_new = loaded.version == kOldVersion || loaded.version == kNewVersion;
    t.Rule(Holds(loaded.refused || old_or_new, point.text,
                 "expected version 1, version 2 or an error of the load, actual " + loaded.text));
  });
}

RULE(CR3) {
  if (!CrashesAreOver(t, true)) return;
  ForEachPoint(t, FirstRanks(t), [&](size_t, const CrashPoint& point, const Loaded& loaded) {
    const bool old_or_new = loaded.version == kOldVersion || loaded.version == kNewVersion;
    t.Rule(Holds(old_or_new, point.text, "expected version 1 or version 2, actual " + loaded.text));
  });
}

RULE(CR11) {
  if (!CrashesOfOthersAreOver(t)) return;
  const World world = FirstRanks(t);
  ForEachPoint(t, world, [&](size_t index, const CrashPoint& point, const Loaded& loaded) {
    const bool old_or_new = loaded.version == kOldVersion || loaded.version == kNewVersion;
    t.Rule(Holds(old_or_new, point.text, "expected version 1 or version 2, actual " + loaded.text));
    const auto error = TrySave(t, world, kNextVersion, PointCheckpoint(index));
    t.Rule(Holds(!error, point.text, "the next save: expected no error, actual " + error.value_or("")));
    const Loaded next = WhatLoads(t, world, PointCheckpoint(index));
    t.Rule(Holds(next.version == kNextVersion, point.text,
                 "after the next save: expected version 3, actual " + next.text));
  });
}

RULE(CR4) {
  if (!CrashesAreOver(t, t.BoolParam("overwrites"))) return;
  const World world = FirstRanks(t);
  const std::vector<CrashPoint> points = ReadPoints(t);
  for (size_t index = 0; index < points.size(); ++index) {
    const auto error = TrySave(t, world, kNextVersion, PointCheckpoint(index), Options(t));
    t.Rule(Holds(!error, points[index].text, "the next save: expected no error, actual " + error.value_or("")));
    const Loaded loaded = WhatLoads(t, world, PointCheckpoint(index));
    t.Rule(Holds(loaded.version == kNextVersion, points[index].text,
                 "after the next save: expected version 3, actual " + loaded.text));
  }
}

RULE(CR7) {
  const int ranks = t.Phases().front().world_size;
  RequireRanksOfTheirOwn(ranks);
  if (!CrashesAreOver(t, true)) return;
  ForEachPoint(t, FirstRanks(t), [&](size_t index, const CrashPoint& point, const Loaded& loaded) {
    if (WasMissed(t, index)) return;
    const std::vector<Survivor> survivors = SurvivorsOf(t, index);
    t.Rule(Equal<int64_t>(point.text + ": ranks that came back", ranks - 1, static_cast<int64_t>(survivors.size())));
    for (const Survivor& survivor : survivors) {
      const std::string who = fmt::format("{}: rank {}", point.text, survivor.rank);
      const bool told = survivor.failed || loaded.version == kNewVersion;
      t.Rule(Holds(told, who, "expected an error, actual none, and the folder loads as " + loaded.text));
    }
  });
}

}  // namespace shardcts::storage
