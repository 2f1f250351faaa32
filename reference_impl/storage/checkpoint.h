// Checkpoints: state dicts in a folder. Semantics: torch.distributed.checkpoint.
//
//     PATH/checkpoint.json             the manifest: what there is and where, with sizes and digests
//     PATH/save-0123456789abcdef/      the files of one save, safetensors with one chunk of each tensor at most:
//         shard-00001-model-00001-of-00001.safetensors      shard: 1 + the rank in the group that wrote it
//
// Two other formats are read: what torch.distributed.checkpoint writes (dcp_checkpoint.h), which is also written, and
// safetensors without a manifest (foreign_safetensors.h).
//
// A save has a folder of its own. Its files are written and synced, then the manifest is replaced by one atomic rename:
// up to it the checkpoint is the old one, whole, from it on the new one. Then the old folder is removed. Whatever ends a
// save before the rename leaves nothing but a folder that the next save removes. A load reads the manifest, checks the
// digests of all that it needs, and touches no destination before every rank has done so.
//
// Names never become paths, and nothing that is read is trusted: every number is checked before it is used.
//
// Every function throws a SemanticError of kind CheckpointException; one that is *Collective* on every rank.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "contract/value.h"
#include "storage/files.h"
#include "storage/manifest.h"

namespace shardcts::reference {

// The steps of a save or a load that can be told to fail. kGlobalPlan and kFinish are steps of the whole group.
enum class StorageStep { kSetUp, kReadManifest, kLocalPlan, kGlobalPlan, kWrite, kRead, kFinish };
// Called on each rank at the beginning of each step. What it throws is the step's error on this rank.
using AtStep = std::function<void(StorageStep)>;

struct SaveSettings {
  std::string path;
  bool overwrite = true;
  bool lowest_rank = false;   // what several ranks hold is written by the lowest of them, not balanced
  bool dcp = false;           // as torch.distributed.checkpoint writes it (dcp_checkpoint.h)
  bool tensors_only = false;  // plain values are refused, and dtypes that safetensors has no name for
  AtStep at_step = {};        // or none
};

// *Collective* over the group. What users should be told, the same on every rank: a line for each tensor of which ranks
// hold other values than the one that was saved.
std::vector<std::string> SaveCheckpoint(Communicator& group, Files& files, const Dict& state_dict,
                                        const SaveSettings& settings);

struct LoadedCheckpoint {
  Dict state_dict;                    // the given tensors, filled in place, and the saved plain values
  std::vector<std::string> left_out;  // names of the checkpoint that no rank of the group has asked for
};

// *Collective* over the group. Values are cast where the destination's dtype holds all of the saved one's. `partial`:
// names that are not there are left. `block_size`: of quantized weights (quantized.h); 0: all tensors are loaded as they
// are stored.
LoadedCheckpoint LoadCheckpoint(Communicator& group, Files& files, const Dict& state_dict, const std::string& path,
                                bool partial, const AtStep& at_step = {}, int64_t block_size = 0);

// *Local*. Whole tensors on the CPU and plain values, nested as they were; with `keys` those whose flat name, or that of
// a dict or list around them, is one of the keys. A key that selects nothing is an error.
Dict ReadCheckpoint(Files& files, const std::string& path, const std::optional<std::vector<std::string>>& keys);

enum class CheckpointFormat { kOwn, kDcp, kSafetensors };
// *Local*. By the files that are there; kSafetensors if there are none of the others'.
CheckpointFormat FormatOf(Files& files, const std::string& path);
// Whether the folder has a checkpoint of some format, or files of one. OSError: there is no such folder.
bool HasCheckpoint(Files& files, const std::string& path);

// *Local*. What the checkpoint in the folder has, whatever its format is.
Manifest ReadManifest(Files& files, const std::string& path);

// *Local*. What is wrong with the checkpoint, a line each. Never throws.
std::vector<std::string> VerifyCheckpoint(Files& files, const std::string& path);

}  // namespace shardcts::reference
