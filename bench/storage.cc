// storage_bench: checkpoints of sharded state dicts, saved and loaded (rank_benchmarks.h).
// bench/state_dict_ratios.py --storage runs it and compares.
//
// KIND is the number of tensors that the bytes are in: ONE, MANY (64) or SMALL (pieces of 4 KiB on each rank).
// OPERATION is save, load (at the same placements) or reshard (rows were saved, columns are loaded, so that every rank
// needs a part of what each has saved). The bytes are those of the state dict on one rank; SIZE is that of the whole.
// What is read is in the system's cache. Both implementations sync what they write.
#include <unistd.h>

#include <filesystem>

#include "bench/rank_benchmarks.h"
#include "contract/storage.h"

namespace shardcts::bench {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kRowBytes = 4096;  // of every tensor

// A state dict on a mesh of all ranks, and the folder of its checkpoint.
class Checkpointed {
 public:
  // *Collective*, like all below. They throw OperationFailed.
  Checkpointed(Measured& implementation, int64_t mebibytes, Units)
      : implementation_(implementation),
        bytes_(ModelBytes(mebibytes)),
        mesh_(Subject(implementation).InitMesh({implementation.world_size()}).Layout()),
        // The ranks are forks of one process.
        folder_((fs::temp_directory_path() / ("storage-bench-" + std::to_string(::getppid()))).string()) {}
  ~Checkpointed() {
    if (implementation_.rank() == 0) fs::remove_all(folder_);
  }
  Checkpointed(const Checkpointed&) = delete;
  Checkpointed& operator=(const Checkpointed&) = delete;

  // In that many tensors; `dim`: along which they are sharded.
  Dict State(int64_t tensors, int64_t dim) const {
    const int64_t ranks = implementation_.world_size();
    const int64_t columns = kRowBytes / 4 * ranks;
    const int64_t rows = std::max<int64_t>(bytes_ / tensors / (columns * 4) / ranks, 1) * ranks;
    Dict state;
    for (int64_t i = 0; i < tensors; ++i) {
      DTensor part;
      part.local = at::full({dim == 0 ? rows / ranks : rows, dim == 1 ? columns / ranks : columns}, 1.0f);
      part.mesh = mesh_;
      part.placements = {Placement::Shard(dim)};
      part.shape = {rows, columns};
      part.stride = {columns, 1};
      state.Set("tensor" + std::to_string(i), part);
    }
    return state;
  }
  int64_t SmallTensors() const {
    return bytes_ / (kRowBytes * implementation_.world_size()) / implementation_.world_size();
  }

  void Save(const Dict& state) { SaveCheckpoint(implementation_, state, folder_); }
  Dict Load(const Dict& state) { return LoadCheckpoint(implementation_, state, folder_); }

 private:
  Measured& implementation_;
  int64_t bytes_;
  MeshLayout mesh_;
  std::string folder_;
};

int64_t TensorsOf(const std::string& kind, const Checkpointed& state) {
  return kind == "ONE" ? 1 : kind == "MANY" ? 64 : state.SmallTensors();
}

using StorageCase = Case<Checkpointed>;

StorageCase CaseOfKind(const std::string& kind, const std::string& operation) {
  return {kind, operation, 1, true, [kind, operation](Checkpointed& checkpointed) {
            const int64_t tensors = TensorsOf(kind, checkpointed);
            const Dict saved = checkpointed.State(tensors, 0);
            if (operation == "save") {
              return Measurement{[&checkpointed, saved] {
                checkpointed.Save(saved);
                return Dict();
              }};
            }
            checkpointed.Save(saved);
            const Dict target = checkpointed.State(tensors, operation == "reshard" ? 1 : 0);
            return Measurement{[&checkpointed, target] { return checkpointed.Load(target); }};
          }};
}

std::vector<StorageCase> Cases() {
  std::vector<StorageCase> cases;
  for (const char* kind : {"ONE", "MANY", "SMALL"}) {
    for (const char* operation : {"save", "load", "reshard"}) cases.push_back(CaseOfKind(kind, operation));
  }
  return cases;
}

}  // namespace
}  // namespace shardcts::bench

int main(int argc, char** argv) {
  return shardcts::bench::RunOnRanks(
      argc, argv,
      {"storage_bench", "Saves and loads checkpoints of sharded state dicts, beside a memcpy of the same bytes.",
       "of the state dict on one rank"},
      shardcts::bench::Cases());
}
