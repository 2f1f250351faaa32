// Disks that are full, broken, slow to take all of a write.
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "rank/session.h"
#include "suites/storage/crash_points.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"
#include "suites/storage/versions.h"

namespace shardcts::storage {
namespace {

namespace fs = std::filesystem;
using faults::Action;
using faults::Kind;
using faults::Operation;

const std::map<std::string, int> kErrors = {{"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EIO", EIO}, {"EFBIG", EFBIG}};

// The kinds of operations that a disk answers with this error.
std::set<Kind> KindsOf(int error) {
  std::set<Kind> kinds = {Kind::kWrite, Kind::kTruncate, Kind::kAllocate, Kind::kCopy};
  if (error != EFBIG) kinds.insert({Kind::kOpen, Kind::kMakeFolder, Kind::kSync, Kind::kClose});
  if (error == EIO) kinds.insert({Kind::kRename, Kind::kLink});
  return kinds;
}

SaveOptions OptionsOf(const Trial& t) {
  SaveOptions options;
  if (t.IntParam("threads") > 1) options.threads = t.IntParam("threads");
  return options;
}

// One save with one fault.
struct FaultySave {
  std::string text;     // which operation failed, and how
  bool hit = false;     // it came
  std::vector<std::string> errors;  // of each rank; empty: none
};

FaultySave SaveWithFault(Trial& t, const World& world, const Operation& at, int error, const std::string& path) {
  const std::string log = t.Folder("log-of-" + path);
  if (t.rank() == at.rank) {
    const bool lasts = error == ENOSPC || error == EDQUOT;  // a disk that is full stays full
    faults::Arm({.root = t.Folder(path), .log = log, .rank = t.rank(), .at = at.number,
                 .action = lasts ? Action::kFailFromHere : Action::kFail, .error = error});
  }
  const std::string own = TrySave(t, world, kNewVersion, path + "/checkpoint", OptionsOf(t)).value_or("");
  List said = {Value(own), Value(""), Value(false)};
  if (t.rank() == at.rank) {
    faults::Disarm();
    for (const Operation& done : faults::ReadLog(log)) {
      if (done.number != at.number || done.result != -1 || done.error != error) continue;
      // A folder that a peer has made all the same is none that lacks.
      if (done.kind == Kind::kMakeFolder && fs::exists(t.Folder(path) + "/" + done.path)) continue;
      // With several threads it may be another one than the one that was planned.
      said = {Value(own), Value(fmt::format("{} of {} on rank {} fails with {}", NameOf(done.kind), done.path, at.rank,
                                            ::strerrorname_np(error))),
              Value(KindsOf(error).contains(done.kind))};
    }
  }
  FaultySave save;
  for (const Value& of_rank : t.AllGather(said)) {
    save.errors.push_back(of_rank.AsList().at(0).AsString());
    save.text += of_rank.AsList().at(1).AsString();
    save.hit = save.hit || of_rank.AsList().at(2).AsBool();
  }
  return save;
}

// Calls `judge` after a first save for each operation that can fail with the error, but for those that fail anyhow.
void FailEach(Trial& t, int error, const std::function<void(const std::string& path, const FaultySave&)>& judge) {
  const World world = FirstRanks(t);
  const SeenSave seen =
      Watch(t, "seen", [&] { world.Save(VersionState(t, world, kNewVersion), "seen/checkpoint", OptionsOf(t)); });
  RequireSeen(seen);
  int tried = 0;
  for (const Operation& operation : seen.operations) {
    if (operation.result == -1 || !KindsOf(error).contains(operation.kind)) continue;
    const std::string path = "try-" + std::to_string(tried++);
    if (t.rank() == 0) fs::create_directories(t.Folder(path));
    t.AllGather(Value());
    const FaultySave save = SaveWithFault(t, world, operation, error, path);
    if (save.hit) judge(path, save);
  }
}

void ErrorsAreTold(Trial& t) {
  const World world = FirstRanks(t);
  int judged = 0;
  FailEach(t, kErrors.at(t.TextParam("error")), [&](const std::string& path, const FaultySave& save) {
    ++judged;
    for (size_t rank = 0; rank < save.errors.size(); ++rank) {
      t.Rule(
          Holds(!save.errors[rank].empty(), save.text, fmt::format("expected an error on rank {}, actual none", rank)));
    }
    const Loaded loaded = WhatLoads(t, world, path + "/checkpoint");
    t.Rule(Holds(loaded.refused || loaded.version == kNewVersion, save.text,
                 "expected an error of the load or all that was saved, actual " + loaded.text));
  });
  t.Rule(Holds(judged > 0, t.TextParam("error"), "expected an operation of the save that meets it, actual none"));
}

// What a process has open below a folder.
std::vector<std::string> OpenBelow(const std::string& folder) {
  std::vector<std::string> open;
  std::error_code gone;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    const std::string target = fs::read_symlink(entry.path(), gone).string();
    if (target.starts_with(folder)) open.push_back(target);
  }
  return open;
}

int64_t Threads() { return std::distance(fs::directory_iterator("/proc/self/task"), fs::directory_iterator()); }

// Threads end a little after what they worked for.
int64_t ThreadsWhenSettled(int64_t wanted) {
  for (int i = 0; i < 200 && Threads() > wanted; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return Threads();
}

std::string NamesBelow(const std::string& folder) {
  std::string names;
  if (!fs::exists(folder)) return "nothing";
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file())
      names += (names.empty() ? "" : ", ") + entry.path().lexically_relative(folder).string();
  }
  return names.empty() ? "nothing" : names;
}

}  // namespace

RULE(IO1) { ErrorsAreTold(t); }
RULE(IO2) { ErrorsAreTold(t); }

RULE(IO3) {
  const World world = FirstRanks(t);
  const Action action = t.TextParam("fault") == "short" ? Action::kShort : Action::kInterrupt;
  const std::string root = t.Folder("all");
  if (t.rank() == 0) fs::create_directories(root);
  t.AllGather(Value());
  faults::Arm({.root = root, .at = faults::kEvery, .action = action});
  const auto save_error = TrySave(t, world, kNewVersion, "all/checkpoint", OptionsOf(t));
  const faults::Seen saved = faults::Disarm();
  if (saved.operations == 0) throw OptionNotSupported("the fault layer sees no operation of the save");
  t.Rule(Holds(!save_error, "the save", "expected no error, actual " + save_error.value_or("")));
  t.AllGather(Value());
  faults::Arm({.root = root, .of_reads = true, .at = faults::kEvery, .action = action});
  const Loaded loaded = WhatLoads(t, world, "all/checkpoint");
  faults::Disarm();
  t.Rule(Holds(loaded.version == kNewVersion, "the load", "expected all that was saved, actual " + loaded.text));
}

RULE(IO6) {
  FirstRanks(t).Save(VersionState(t, FirstRanks(t), kOldVersion), "first");  // threads that stay begin with it
  const int64_t threads = Threads();
  FailEach(t, EIO, [&](const std::string& path, const FaultySave& save) {
    const std::vector<std::string> open = OpenBelow(t.Folder(path));
    t.Rule(Holds(open.empty(), save.text, "a descriptor is left: " + (open.empty() ? "" : open.front())));
    t.Rule(Holds(ThreadsWhenSettled(threads) <= threads, save.text, "threads are left"));
    const bool failed_everywhere = std::ranges::count(save.errors, std::string()) == 0;
    const std::string left = NamesBelow(t.Folder(path));
    const Loaded loaded = WhatLoads(t, FirstRanks(t), path + "/checkpoint");
    if (!failed_everywhere || !loaded.refused) return;  // told by IO1, or done before it failed
    t.Rule(Equal<std::string>(save.text + ": files that are left", "nothing", left));
  });
}

RULE(IO8) {
  const World world = FirstRanks(t);
  const int last = t.world_size() - 1;
  const auto begin = [&](const std::string& path) {
    return SaveCheckpointAsync(t.caller(), VersionState(t, world, kOldVersion), path + "/checkpoint");
  };
  const SeenSave seen = Watch(t, "first", [&] { begin("first").Wait(); });
  RequireSeen(seen);
  const auto write = std::ranges::find_if(
      seen.operations, [&](const Operation& one) { return one.rank == last && one.kind == Kind::kWrite; });
  if (write == seen.operations.end()) throw OptionNotSupported("the last rank writes nothing in a background save");
  if (t.rank() == last) {
    faults::Arm({.root = t.Folder("second"), .rank = last, .at = write->number, .action = Action::kFailFromHere,
                 .error = ENOSPC});
  }
  std::optional<BackgroundSave> save;
  const std::string rank = fmt::format("rank {}", last);
  IsRefused(t, "a background save to a disk that is full", {rank}, [&] {
    save = begin("second");
    save->Wait();
  });
  if (t.rank() == last) faults::Disarm();
  if (save) {
    IsRefused(t, "the second wait", {rank}, [&] { save->Wait(); });
    t.Rule(Equal("done", true, save->Progress().done));
  }
  t.AllGather(Value());
  t.Rule(Equal("whether it is complete", false, IsDescribedComplete(t, "second/checkpoint")));
}

}  // namespace shardcts::storage
