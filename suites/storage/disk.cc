// Overwriting, and a disk that fails.
#include <ATen/ATen.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "faults/faults.h"
#include "rank/session.h"
#include "suites/storage/files_on_disk.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

namespace fs = std::filesystem;

const std::vector<PlacedTensor> kStored = {{"weight", {50, 40}, "S0"}, {"bias", {5}, "R"}};

}  // namespace

RULE(CR8) {
  const World world = FirstRanks(t);
  world.Save(CodedState(t, world, kStored), "checkpoint");
  t.AllGather(Value());
  const auto before = DigestsBelow(t.Folder("checkpoint"));
  t.AllGather(Value());
  IsRefused(t, "a save with overwrite=false", {},
            [&] { world.Save(BlankState(t, world, kStored), "checkpoint", {.overwrite = false}); });
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
  Rank0Does(t, [&] { std::ofstream(t.Folder("file")) << "a file"; });
  IsRefused(t, "a file in the folder's place", {}, [&] { world.Save(CodedState(t, world, kStored), "file"); });
  IsRefused(t, "a file in the parent's place", {}, [&] { world.Save(CodedState(t, world, kStored), "file/inner"); });
  IsRefused(t, "a load from a file", {}, [&] { world.Load(BlankState(t, world, kStored), "file"); });
  t.AllGather(Value());
  t.Rule(Equal<int64_t>("the file's size", 6, static_cast<int64_t>(fs::file_size(t.Folder("file")))));
}

}  // namespace shardcts::storage
