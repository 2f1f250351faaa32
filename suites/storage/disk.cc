// Overwriting, and a disk that fails.
#include <ATen/ATen.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>

#include "faults/faults.h"
#include "rank/session.h"
#include "suites/storage/crash_points.h"
#include "suites/storage/files_on_disk.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

namespace fs = std::filesystem;

const std::vector<PlacedTensor> kStored = {{"weight", {50, 40}, "S0"}, {"bias", {5}, "R"}};

// What a save that changes nothing must not do; making a folder that is there fails.
bool Changes(const faults::Operation& operation) {
  using faults::Kind;
  static const std::set<Kind> kHarmless = {Kind::kSync, Kind::kSyncRange, Kind::kClose, Kind::kRead};
  return operation.result != -1 && !kHarmless.contains(operation.kind);
}

// Evaluates the rule: a save over a checkpoint, with overwrite=false, is an error and does nothing to any file.
void IsRefusedUntouched(Trial& t, const World& world) {
  const std::string log = t.Folder(fmt::format("log-{}", t.rank()));
  faults::Arm({.root = t.Folder("checkpoint"), .log = log, .rank = t.rank()});
  IsRefused(t, "a save with overwrite=false", {},
            [&] { world.Save(BlankState(t, world, kStored), "checkpoint", {.overwrite = false}); });
  faults::Disarm();
  if (!fs::exists(log)) return;
  for (const faults::Operation& done : faults::ReadLog(log)) {
    t.Rule(Holds(!Changes(done), "the save that was refused",
                 fmt::format("did {} of {}", faults::NameOf(done.kind), done.path)));
  }
}

void AFileIsInThePlace(Trial& t, const World& world) {
  Rank0Does(t, [&] { std::ofstream(t.Folder("file")) << "a file"; });
  IsRefused(t, "a file in the folder's place", {}, [&] { world.Save(CodedState(t, world, kStored), "file"); });
  IsRefused(t, "a file in the parent's place", {}, [&] { world.Save(CodedState(t, world, kStored), "file/inner"); });
  IsRefused(t, "a load from a file", {}, [&] { world.Load(BlankState(t, world, kStored), "file"); });
  t.AllGather(Value());
  t.Rule(Equal<int64_t>("the file's size", 6, static_cast<int64_t>(fs::file_size(t.Folder("file")))));
}

void FoldersAreMadeBySaves(Trial& t, const World& world) {
  IsRefused(t, "a load below a folder that is not there", {},
            [&] { world.Load(BlankState(t, world, kStored), "none/inner"); });
  t.AllGather(Value());
  t.Rule(Holds(!fs::exists(t.Folder("none")), "the load", "has made the folder"));
  world.Save(CodedState(t, world, kStored), "made/inner/checkpoint");
  HasCoded(t, "what was loaded", world, kStored,
           world.Load(BlankState(t, world, kStored), "made/inner/checkpoint"));
}

// Ranks from `first` on get EACCES for all that they make or write.
void MayNotWrite(Trial& t, const World& world, int first) {
  const std::string parent = t.Folder("locked");
  Rank0Does(t, [&] { fs::create_directory(parent); });
  if (t.rank() >= first) {
    faults::Arm({.root = parent, .rank = t.rank(), .at = 0, .action = faults::Action::kFailFromHere, .error = EACCES});
  }
  IsRefused(t, "a save where a rank must not write", {},
            [&] { world.Save(CodedState(t, world, kStored), "locked/checkpoint"); });
  bool hit = false;
  for (const Value& one : t.AllGather(t.rank() >= first && faults::Disarm().hit)) hit = hit || one.AsBool();
  if (!hit) throw OptionNotSupported("the fault layer sees no operation of the save");
  IsRefused(t, "a load of what could not be saved", {},
            [&] { world.Load(BlankState(t, world, kStored), "locked/checkpoint"); });
}

// The text that must be in the error of an operation that fails: the last part of a name.
std::vector<std::string> NamesOf(const faults::Operation& operation) {
  std::vector<std::string> names;
  for (const std::string& path : {operation.path, operation.to}) {
    if (!path.empty() && path != ".") names.push_back(fs::path(path).filename().string());
  }
  return names;
}

// Evaluates the rule: of the operations of a save each that fails with EIO is told with its file.
void SavesNameTheFile(Trial& t, const World& world) {
  const auto save = [&](const std::string& path) {
    try {
      world.Save(CodedState(t, world, kStored), path + "/checkpoint");
    } catch (const OperationFailed& failure) {
      return failure.error().message;
    }
    return std::string();
  };
  const SeenSave seen = Watch(t, "seen", [&] { save("seen"); });
  RequireSeen(seen);
  int tried = 0, told = 0;
  for (const faults::Operation& operation : seen.operations) {
    if (operation.result == -1) continue;
    const std::string path = fmt::format("try-{}", tried++), log = t.Folder(path + "-log");
    Rank0Does(t, [&] { fs::create_directory(t.Folder(path)); });
    if (t.rank() == operation.rank) {
      faults::Arm({.root = t.Folder(path), .log = log, .rank = t.rank(), .at = operation.number,
                   .action = faults::Action::kFail, .error = EIO});
    }
    const std::string message = save(path);
    if (t.rank() == operation.rank) faults::Disarm();
    if (t.rank() != operation.rank || message.empty()) continue;  // that it is told at all is IO1
    for (const faults::Operation& failed : faults::ReadLog(log)) {
      const std::vector<std::string> names = NamesOf(failed);
      if (failed.number != operation.number || names.empty()) continue;
      const bool named = std::ranges::any_of(names, [&](const auto& name) { return message.find(name) != message.npos; });
      t.Rule(Holds(named, fmt::format("{} of {} that fails", faults::NameOf(failed.kind), failed.path),
                   fmt::format("expected an error with \"{}\", actual {}", names.front(), message)));
      ++told;
    }
  }
  int64_t all = 0;
  for (const Value& one : t.AllGather(int64_t{told})) all += one.AsInt();
  t.Rule(Holds(all > 0, "a save with EIO", "no error was told"));
}

}  // namespace

RULE(CR8) {
  const World world = FirstRanks(t);
  world.Save(CodedState(t, world, kStored), "checkpoint");
  t.AllGather(Value());
  const auto before = DigestsBelow(t.Folder("checkpoint"));
  t.AllGather(Value());
  IsRefusedUntouched(t, world);
  t.AllGather(Value());
  t.Rule(Equal("the files", before, DigestsBelow(t.Folder("checkpoint"))));
  HasCoded(t, "what was there", world, kStored, world.Load(BlankState(t, world, kStored), "checkpoint"));
  world.Save(BlankState(t, world, kStored), "checkpoint");
  const Dict loaded = world.Load(CodedState(t, world, kStored), "checkpoint");
  t.Rule(SameValue("what was overwritten", BlankState(t, world, kStored), loaded));
}

RULE(IO4) {
  const World world = FirstRanks(t);
  world.Save(CodedState(t, world, kStored), "checkpoint");
  Rank0Does(t, [&] {
    const std::string file = LargestBelow(t.Folder("checkpoint"));
    if (t.TextParam("damage") == "cut") fs::resize_file(file, fs::file_size(file) / 2);
    if (t.TextParam("damage") == "empty") fs::resize_file(file, 0);
    if (t.TextParam("damage") == "removed") fs::remove(file);
    if (t.TextParam("damage") == "folder") fs::remove(file), fs::create_directory(file);
  });
  const bool unreadable = t.TextParam("damage") == "unreadable" && t.rank() == t.world_size() - 1;
  if (unreadable) {
    faults::Arm(
        {.root = t.Folder("checkpoint"), .of_reads = true, .at = 0, .action = faults::Action::kFail, .error = EIO});
  }
  IsRefused(t, "a load from a damaged file", {}, [&] { world.Load(BlankState(t, world, kStored), "checkpoint"); });
  if (unreadable && !faults::Disarm().hit) throw OptionNotSupported("the fault layer sees no read of the load");
}

RULE(IO5) {
  const World world = FirstRanks(t);
  const std::string place = t.TextParam("place");
  if (place == "file") return AFileIsInThePlace(t, world);
  if (place == "no_parent") return FoldersAreMadeBySaves(t, world);
  MayNotWrite(t, world, place == "unwritable_on_last" ? t.world_size() - 1 : 0);
}

RULE(IO7) {
  const World world = FirstRanks(t);
  if (t.TextParam("fault") == "EIO") return SavesNameTheFile(t, world);
  world.Save(CodedState(t, world, kStored), "checkpoint");
  const std::string file = t.FromRank0(t.rank() == 0 ? LargestBelow(t.Folder("checkpoint")) : "").AsString();
  Rank0Does(t, [&] {
    if (t.TextParam("fault") == "short") fs::resize_file(file, 10);
    if (t.TextParam("fault") == "missing") fs::remove(file);
  });
  IsRefused(t, "a load from a damaged file", {fs::path(file).filename().string()},
            [&] { world.Load(BlankState(t, world, kStored), "checkpoint"); });
}

RULE(CR12) {
  const World world = FirstRanks(t);
  const std::string there = FormatOf(t);
  world.Save(CodedState(t, world, kStored), "checkpoint", {.format = there});
  for (const std::string& format : {std::string(), there}) {
    IsRefused(t, fmt::format("a save in the format \"{}\" with overwrite=false", format), {}, [&] {
      world.Save(BlankState(t, world, kStored), "checkpoint", {.format = format, .overwrite = false});
    });
  }
  HasCoded(t, "what was there", world, kStored,
           world.Load(BlankState(t, world, kStored), "checkpoint", {.format = there}));
}

}  // namespace shardcts::storage
