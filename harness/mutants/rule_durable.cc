// Mutants of the durable rules of the suite storage that a decorator can show. The others are source mutants.
#include "mutants/rule_durable.h"

#include <fcntl.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "mutants/checkpoints.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;

std::string NameIn(const MutantState& state, const Dict& arguments, const std::string& name) {
  return arguments.At("path").AsString() + "/" + name + "-" + std::to_string(state.context.rank);
}

// A name in the folder that no one syncs.
void LeaveAMark(MutantState& state, Dict& arguments) { std::ofstream(NameIn(state, arguments, "done")) << "done\n"; }

Mutation AfterFailedSave(std::function<void(const std::string& file)> act) {
  return [=](MutantState& state, std::string_view operation, Dict& arguments) {
    Outcome outcome = state.inner.Invoke(operation, arguments);
    if (operation == "storage.save" && !outcome.ok()) {
      std::error_code ignored;
      fs::create_directories(arguments.At("path").AsString(), ignored);
      act(NameIn(state, arguments, "part"));
    }
    return outcome;
  };
}

void LeaveAFile(const std::string& file) { std::ofstream(file) << "part\n"; }

// Open, but without a name.
void LeaveOpen(const std::string& file) {
  const int left = ::open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  static_cast<void>(left);
  fs::remove(file);
}

}  // namespace

std::vector<MutantRow> StorageDurableMutants() {
  return {
      StorageRule("IO1", "storage_full_disks_hidden", "a save on a full disk is not told", "a retry that hides ENOSPC",
                  Swallow("storage.save", MessageHas("No space left")), 2),
      StorageRule("IO6", "storage_failed_saves_leave_files", "a save that fails leaves a file", "temporary files stay",
                  AfterFailedSave(LeaveAFile), 2),
      StorageRule("IO6", "storage_failed_saves_leave_files_open", "a save that fails leaves a file open",
                  "a descriptor is lost with each error", AfterFailedSave(LeaveOpen), 2),
      StorageRule("CR6", "storage_marks_not_synced", "a file that says that the save is over is not synced",
                  "a marker that a loss of power takes", After("storage.save", LeaveAMark)),
  };
}

}  // namespace shardcts
