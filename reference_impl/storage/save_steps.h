// The steps of a save, so that they can be made one after the other or with other work in between.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "contract/value.h"
#include "storage/checkpoint.h"
#include "storage/files.h"
#include "storage/pieces.h"
#include "storage/save_plan.h"

namespace shardcts::reference {

// What a rank holds, by flat name.
struct HeldState {
  std::vector<SaveNote> notes;
  std::map<std::string, HeldTensor> tensors;
  std::map<std::string, Value> values;
};

// Prepare, Plan, perhaps Stage, Write, Publish. What is not published leaves nothing behind. Prepare and Publish throw
// a SemanticError of kind CheckpointException on every rank, the other steps whatever they meet.
class SaveSteps {
 public:
  // The group must outlive it.
  SaveSteps(Communicator& group, Files& files, SaveSettings settings);
  ~SaveSteps();

  void Prepare(const Dict& state_dict);  // *Collective*: what each rank holds
  void Plan();                           // *Local*, after Prepare. RuntimeError as PlanSave
  // *Local*, after Plan. From now on the save has copies of what this rank writes: the caller's tensors may change.
  void Stage();
  // *Local*, after Plan: the files of this rank. No other step at the same time. What Publish needs of it.
  Value Write();
  // *Collective*. `parts`: what Write has given on each rank. What users should be told, as SaveCheckpoint returns it.
  std::vector<std::string> Publish(const std::vector<Value>& parts);

 private:
  class NewFolder;
  void At(StorageStep step) const;
  Communicator& group_;
  Files& files_;
  const SaveSettings settings_;
  std::unique_ptr<NewFolder> folder_;  // of the first rank
  std::string folder_name_;
  HeldState state_;
  std::vector<std::vector<SaveNote>> notes_;  // of each rank, until they are planned
  std::vector<PlannedEntry> plan_;
  std::optional<Value> replicas_;  // digests, once they are made
};

}  // namespace shardcts::reference
