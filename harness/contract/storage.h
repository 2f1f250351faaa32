// The façade of checkpoints: state dicts saved to a folder and loaded from it.
//
// As in facade.h, every function is one operation of the table (docs/contract.md), which gives its semantics and says
// whether it is *Collective*. It throws OperationFailed when the implementation returns an error. `path` is a relative
// path below the test's own folder.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "contract/facade.h"
#include "contract/fsdp.h"

namespace shardcts {

// Absent fields take the default.
struct SaveOptions {
  std::string format;  // "" or "safetensors"
  bool overwrite = true;
  std::optional<int64_t> threads;
  bool lowest_rank = false;
  std::string stream;       // "" or "rot13", "zstd"
  bool distributed = true;  // false: this rank alone, as if no process group had been created
  bool cache_staged = false;  // in the background: the memory of the copy may be kept
  bool process = false;       // in the background: another process of each rank writes
  std::optional<ProcessGroup> group;
  std::vector<Warning>* warnings = nullptr;  // the warnings of the call are put there
};

struct CheckpointLoadOptions {
  std::string format;
  bool partial = false;
  std::optional<int64_t> threads;
  std::optional<int64_t> block_size;  // of quantized weights: rows and columns; absent: loaded as they are stored
  bool distributed = true;  // as of SaveOptions
  std::optional<ProcessGroup> group;
  std::vector<Warning>* warnings = nullptr;  // the warnings of the call are put there
};

// Part of a whole tensor.
struct ChunkBox {
  std::vector<int64_t> offsets;
  std::vector<int64_t> sizes;
  bool operator==(const ChunkBox&) const = default;
};

struct SavedEntry {
  bool is_tensor = false;
  std::string dtype;  // of a tensor, as all below
  std::vector<int64_t> shape;
  std::vector<ChunkBox> chunks;  // in the order of their offsets, without empty ones
};

struct CheckpointDescription {
  bool complete = false;
  std::string version;  // of the format, as the checkpoint says
  std::string writes;   // the version that the implementation gives to a checkpoint of its own
  std::map<std::string, SavedEntry> entries;  // by flat name
};

struct PlannedRead {
  int64_t saved = 0;   // index
  int64_t wanted = 0;  // index
  ChunkBox box;
  bool operator==(const PlannedRead&) const = default;
};

// What simulated ranks hold of a tensor.
struct HeldChunk {
  int64_t rank = 0;
  ChunkBox box;
  bool operator==(const HeldChunk&) const = default;
};
struct HeldTensorLayout {
  std::string dtype = "float32";
  std::vector<int64_t> shape;
  std::vector<HeldChunk> chunks;  // ascending by rank
};
struct HeldLayout {
  int64_t ranks = 1;
  std::vector<std::pair<std::string, HeldTensorLayout>> tensors;
  std::vector<std::pair<std::string, std::vector<int64_t>>> values;  // the ranks that have it
};

struct PlanSaveOptions {
  bool lowest_rank = false;
  std::string series;
};

// Who writes what.
struct SavePlan {
  std::map<std::string, std::vector<HeldChunk>> chunks;  // in the order of their offsets
  std::map<std::string, int64_t> values;
  std::vector<bool> reused;  // by rank
};

struct FlatState {
  Dict flat;
  Dict paths;
};

// Where the next save or load fails.
struct StorageFailure {
  std::string step;
  std::vector<int64_t> ranks;
  bool asynchronous = false;
  int64_t coordinator = 0;
};

void SaveCheckpoint(Caller& caller, const Dict& state_dict, const std::string& path, const SaveOptions& options = {});

// A save in the background.
class BackgroundSave {
 public:
  BackgroundSave(Caller& caller, Value handle, std::optional<ProcessGroup> group)
      : caller_(&caller), handle_(std::move(handle)), group_(std::move(group)) {}

  struct State {
    bool staged = false;
    bool done = false;
  };
  State Progress() const;
  void Wait();

 private:
  Caller* caller_;
  Value handle_;  // with its origin, so that a recording refers to the step that made it
  std::optional<ProcessGroup> group_;
};
BackgroundSave SaveCheckpointAsync(Caller& caller, const Dict& state_dict, const std::string& path,
                                   const SaveOptions& options = {});
Dict StageState(Caller& caller, const Dict& state_dict);

// The state dict: the given tensors, and the loaded plain values.
Dict LoadCheckpoint(Caller& caller, const Dict& state_dict, const std::string& path,
                    const CheckpointLoadOptions& options = {});
Dict ReadCheckpoint(Caller& caller, const std::string& path, const std::vector<std::string>& keys = {});
// `files`: of each tensor the number of its file, from 1; empty: all are in one.
void ConsolidateCheckpoint(Caller& caller, const std::string& path, const std::string& target,
                           const std::map<std::string, int64_t>& files = {});
void ConsolidateOnEveryRank(Caller& caller, const std::string& path, const std::string& target,
                            const std::map<std::string, int64_t>& files);
// What the checkpoint has under the key, with the key; tensors in the layout of the parameters in `model_state`.
Dict LoadOptimizerCheckpoint(Caller& caller, const Dict& model_state, const std::string& key, const std::string& path);
CheckpointDescription DescribeCheckpoint(Caller& caller, const std::string& path);
std::vector<std::string> VerifyCheckpoint(Caller& caller, const std::string& path);

std::vector<PlannedRead> PlanReads(Caller& caller, const std::vector<ChunkBox>& saved,
                                   const std::vector<ChunkBox>& wanted);
SavePlan PlanSave(Caller& caller, const HeldLayout& layout, const PlanSaveOptions& options = {});
// Elements from `place` on, an element of a part of these sizes, that are together in a tensor of this shape, too.
int64_t ContiguousRun(Caller& caller, const std::vector<int64_t>& place, const std::vector<int64_t>& part,
                      const std::vector<int64_t>& shape);
// A tensor of this shape: the part at the offsets, zeros elsewhere.
at::Tensor PlacePart(Caller& caller, const at::Tensor& part, const std::vector<int64_t>& offsets,
                     const std::vector<int64_t>& shape);
FlatState FlattenState(Caller& caller, const Dict& state_dict);
Dict UnflattenState(Caller& caller, const FlatState& state);

// `to`: "default", "safetensors" or "torch_save".
void ConvertCheckpoint(Caller& caller, const std::string& source, const std::string& target, const std::string& to);
Dict LoadTorchFile(Caller& caller, const Dict& state_dict, const std::string& path);
void FailAt(Caller& caller, const StorageFailure& failure);
std::vector<std::string> CheckChunks(Caller& caller, const std::vector<int64_t>& shape,
                                     const std::vector<ChunkBox>& chunks);

}  // namespace shardcts
