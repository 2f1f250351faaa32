// The subject of the benchmarks of state dicts: an implementation loaded by the loader, and a model on it that is
// sharded over all ranks.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "adapters/loader.h"
#include "comm/communicator.h"
#include "contract/fsdp.h"

namespace shardcts::bench {

// How the façade calls an implementation without a session: nothing is recorded, and ranks are not synchronized.
class Measured final : public Caller {
 public:
  // *Collective*. `source` as LoadImplementation takes it, `run_folder` is shared by all ranks. Throws InputError.
  Measured(const std::string& source, Communicator& world, const std::string& run_folder);

  int rank() const override { return communicator_->rank(); }
  int world_size() const override { return communicator_->size(); }
  const std::string& device() const override { return device_; }
  Outcome Call(std::string_view operation, Dict arguments) override;

 private:
  std::string device_ = "cpu";
  std::unique_ptr<Communicator> communicator_;  // the implementation's own
  std::unique_ptr<LoadedImplementation> implementation_;
};

constexpr int64_t kLayers = 4;

// *Collective*. kLayers Linears without bias, together about `mebibytes` MiB of float32; not wrapped.
Model BuildLayers(Measured& implementation, int64_t mebibytes);

// What the FSDP1 units of the model are: each layer, so that a rank's rows are what its shard holds, or all layers
// together, so that most rows are in the shards of other ranks.
enum class Units { kEachLayer, kOne };

// Such a model in units.
class ShardedModel {
 public:
  // *Collective*, like all below. They throw OperationFailed.
  ShardedModel(Measured& implementation, int64_t mebibytes, Units units);
  ~ShardedModel();  // drops all objects of the implementation
  ShardedModel(const ShardedModel&) = delete;
  ShardedModel& operator=(const ShardedModel&) = delete;

  // The type of state dict for Save and Load from now on.
  void SetKind(StateDictKind kind) { SetStateDictType(model_, kind); }
  Dict Save() { return model_.StateDict(); }
  void Load(const Dict& state_dict) { model_.LoadStateDict(state_dict); }
  Model& model() { return model_; }
  // A forward of one row: the units gather their parameters and free them.
  void Compute();
  // A state dict with tensors other than the model's.
  Dict SaveApart(StateDictKind kind);

 private:
  Measured& implementation_;
  int64_t width_;
  Model model_;
};

// A state dict of full tensors to be loaded: `values` are those of `saved`, in the caller's own memory, as if read from
// a file. `saved` stays alive as long, so that no implementation can reuse memory that it has just freed.
struct CallersState {
  explicit CallersState(Dict state_dict);

  Dict saved;
  Dict values;
};

// Bytes of the full model of that size.
int64_t ModelBytes(int64_t mebibytes);

}  // namespace shardcts::bench
