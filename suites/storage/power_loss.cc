// What lasts when the power is lost, and two saves at once.
#include <filesystem>
#include <thread>

#include "faults/power_loss.h"
#include "rank/session.h"
#include "suites/storage/crash_points.h"
#include "suites/storage/rule.h"
#include "suites/storage/versions.h"

namespace shardcts::storage {
namespace {

namespace fs = std::filesystem;
using faults::Action;
using faults::Kind;
using faults::Operation;

// A save of the new version, and what was there before.
struct WatchedSave {
  faults::FileTree before;
  SeenSave seen;
};

WatchedSave WatchSave(Trial& t, const World& world, bool overwrites) {
  WatchedSave save;
  if (overwrites) world.Save(VersionState(t, world, kOldVersion), "seen/checkpoint");
  t.AllGather(Value());
  if (overwrites) save.before = faults::ReadTree(t.Folder("seen"));
  save.seen = Watch(t, "seen", [&] { world.Save(VersionState(t, world, kNewVersion), "seen/checkpoint"); });
  RequireSeen(save.seen);
  return save;
}

std::string ParentOf(const std::string& path) {
  const size_t cut = path.rfind('/');
  return cut == path.npos ? "." : path.substr(0, cut);
}

// The name that the operation has made; empty: none.
std::string MadeName(const Operation& operation) {
  if (operation.result == -1) return "";
  if (operation.kind == Kind::kOpen || operation.kind == Kind::kMakeFolder) return operation.path;
  return operation.kind == Kind::kRename || operation.kind == Kind::kLink ? operation.to : "";
}

bool IsSyncedLater(const std::vector<Operation>& operations, const Operation& made, const std::string& folder) {
  return std::ranges::any_of(operations, [&](const Operation& other) {
    return other.kind == Kind::kSync && other.result == 0 && other.path == folder && other.begin_ns >= made.end_ns;
  });
}

size_t LinesOf(const std::string& file) { return fs::exists(file) ? faults::ReadLog(file).size() : 0; }

// Two saves at once, by one rank each: the first stops before its operation `at` until the second has ended. What each
// has come to.
std::vector<bool> SaveTwice(Trial& t, const World& own, const ProcessGroup& group, int first, int64_t at,
                            const std::string& folder) {
  const std::string log = t.Folder("log-of-" + folder), go = t.Folder("go-of-" + folder);
  if (t.rank() == 0) fs::create_directories(t.Folder(folder));
  t.AllGather(Value());
  if (t.rank() == first) {
    faults::Arm({.root = t.Folder(folder), .log = log, .rank = first, .at = at, .action = Action::kPause,
                 .delay_ms = 3000, .wait_for = go});
  }
  bool saved = true;
  t.Among({t.rank()}, [&] {  // begins on both at once
    const auto is_there = [&] { return t.rank() == first || LinesOf(log) >= static_cast<size_t>(at); };
    for (int i = 0; i < 1000 && !is_there(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    try {
      const Dict state = VersionState(t, own, t.rank() == first ? kOldVersion : kNewVersion);
      SaveCheckpoint(t.caller(), state, folder + "/checkpoint", {.group = group});
    } catch (const OperationFailed&) {
      saved = false;
    }
    if (t.rank() != first) fs::create_directory(go);
  });
  if (t.rank() == first) faults::Disarm();
  std::vector<bool> all;
  for (const Value& one : t.AllGather(saved)) all.push_back(one.AsBool());
  return all;
}

}  // namespace

RULE(CR5) {
  const World world = FirstRanks(t);
  const bool overwrites = t.BoolParam("overwrites");
  const WatchedSave save = WatchSave(t, world, overwrites);
  const std::vector<faults::PowerLoss> losses = faults::PowerLosses(save.before, save.seen.operations, 4);
  for (size_t i = 0; i < losses.size(); ++i) {
    const std::string folder = "loss-" + std::to_string(i);
    Rank0Does(t, [&] { faults::WriteTree(losses[i].tree, t.Folder(folder)); });
    const Loaded loaded = WhatLoads(t, world, folder + "/checkpoint");
    Rank0Does(t, [&] { fs::remove_all(t.Folder(folder)); });
    const bool is_end = losses[i].after == save.seen.operations.size();
    const std::string when =
        fmt::format("power lost after operation {} of {}{}; {}", losses[i].after, save.seen.operations.size(),
                    is_end ? ", the end of the save" : "", losses[i].text);
    const bool old_or_new = loaded.version == kNewVersion || (overwrites && loaded.version == kOldVersion);
    t.Rule(Holds(loaded.refused || old_or_new, when, "expected one of the saves or an error, actual " + loaded.text));
    if (is_end && losses[i].keeps_names)
      t.Rule(Holds(loaded.version == kNewVersion, when, "expected version 2, actual " + loaded.text));
  }
}

RULE(CR6) {
  const World world = FirstRanks(t);
  const WatchedSave save = WatchSave(t, world, t.BoolParam("overwrites"));
  const faults::FileTree after = faults::ReadTree(t.Folder("seen"));
  std::map<std::string, const Operation*> made;  // the last operation that gave a name that is still there
  for (const Operation& operation : save.seen.operations) {
    const std::string name = MadeName(operation);
    const bool was_there = operation.kind == Kind::kOpen && (save.before.contains(name) || made.contains(name));
    if (!name.empty() && !was_there) made[name] = &operation;
  }
  t.Rule(Holds(!made.empty(), "the save", "makes names"));
  for (const auto& [name, operation] : made) {
    if (!after.contains(name) && !after.contains(name + "/")) continue;
    const std::string folder = ParentOf(name);
    t.Rule(Holds(IsSyncedLater(save.seen.operations, *operation, folder), name,
                 "its folder " + folder + " is not synced before the save returns"));
  }
}

RULE(CR10) {
  const std::vector<World> alone = {World(t, {0}), World(t, {1})};
  const World& own = alone[static_cast<size_t>(t.rank())];
  const std::vector<ProcessGroup> groups = {NewGroup(t.caller(), {0}), NewGroup(t.caller(), {1})};
  const ProcessGroup& group = groups[static_cast<size_t>(t.rank())];
  const World world = FirstRanks(t);
  if (t.rank() == 0) fs::create_directories(t.Folder("seen"));
  t.AllGather(Value());
  faults::Arm({.root = t.Folder("seen"), .rank = t.rank()});
  alone[0].Save(t.rank() == 0 ? VersionState(t, alone[0], kOldVersion) : Dict(), "seen/checkpoint");
  const int64_t operations = t.FromRank0(faults::Disarm().operations).AsInt();
  if (operations == 0) throw OptionNotSupported("the fault layer sees no operation of the save");
  for (int first = 0; first < 2; ++first) {
    for (int64_t at = 0; at < operations; ++at) {
      const std::string folder = fmt::format("both-{}-{}", first, at);
      const std::vector<bool> saved = SaveTwice(t, own, group, first, at, folder);
      const Loaded loaded = WhatLoads(t, alone[0], folder + "/checkpoint");
      const std::string when =
          fmt::format("the save of rank {} stops before its operation {} for that of rank {}", first, at, 1 - first);
      const bool first_saved = saved[static_cast<size_t>(first)], second_saved = saved[static_cast<size_t>(1 - first)];
      const bool is_one =
          (first_saved && loaded.version == kOldVersion) || (second_saved && loaded.version == kNewVersion);
      const bool both_failed = !first_saved && !second_saved && loaded.refused;
      t.Rule(
          Holds(is_one || both_failed, when,
                fmt::format("expected all of a save that succeeded, actual {}; the first {}, the second {}",
                            loaded.text, first_saved ? "succeeded" : "failed", second_saved ? "succeeded" : "failed")));
    }
  }
}

}  // namespace shardcts::storage
