// dsd_bench: state dicts of models under fully_shard, through the distributed state-dict functions (rank_benchmarks.h).
// bench/state_dict_ratios.py runs it and compares.
//
// KIND is FULL, whole values on every rank; RANK0, whole values on rank 0 only: saved with cpu_offload, loaded with
// broadcast_from_rank0; or SHARDED. OPERATION is get_model_state_dict or set_model_state_dict. The bytes are those of
// the whole model for FULL and RANK0, of a rank's shard for SHARDED.
#include "contract/dsd.h"
#include "bench/rank_benchmarks.h"

namespace shardcts::bench {
namespace {

enum class Kind { kFull, kRank0, kSharded };
enum class Operation { kGet, kSet };

struct Case {
  Kind kind = Kind::kFull;
  Operation operation = Operation::kGet;
  int64_t mebibytes = 1;
};

const char* ToString(Kind kind) {
  switch (kind) {
    case Kind::kFull: return "FULL";
    case Kind::kRank0: return "RANK0";
    case Kind::kSharded: return "SHARDED";
  }
  return "";
}

StateDictOptions OptionsFor(const Case& which) {
  StateDictOptions options;
  options.full_state_dict = which.kind != Kind::kSharded;
  options.cpu_offload = which.kind == Kind::kRank0 && which.operation == Operation::kGet;
  options.broadcast_from_rank0 = which.kind == Kind::kRank0 && which.operation == Operation::kSet;
  return options;
}

class FullyShardedModel {
 public:
  // *Collective*, like all below. They throw OperationFailed. Each layer is a group of its own.
  FullyShardedModel(Measured& implementation, int64_t mebibytes, Units)
      : implementation_(implementation), model_(BuildLayers(implementation, mebibytes)) {
    for (int64_t layer = 0; layer < kLayers; ++layer) model_.FullyShard(std::to_string(layer));
    model_.FullyShard("");
  }
  ~FullyShardedModel() { implementation_.Call("implementation.reset", {}); }
  FullyShardedModel(const FullyShardedModel&) = delete;
  FullyShardedModel& operator=(const FullyShardedModel&) = delete;

  Dict Get(const StateDictOptions& options) { return GetModelStateDict(model_, options); }
  void Set(const Dict& state_dict, const StateDictOptions& options) { SetModelStateDict(model_, state_dict, options); }
  // What Set takes of this kind, apart from the model.
  Dict Saved(Kind kind) {
    Dict saved = Get(OptionsFor({kind, Operation::kGet}));
    return kind == Kind::kSharded ? Subject(implementation_).Clone(saved).AsDict() : saved;
  }

 private:
  Measured& implementation_;
  Model model_;
};

class StateDicts {
 public:
  // *Collective*, as is all that follows.
  StateDicts(const Options& options, Communicator& world, const std::string& run_folder)
      : world_(world), models_(options, world, run_folder) {}

  void Run(benchmark::State& state, const std::string& source, const Case& which) {
    FullyShardedModel& model = models_.Get(source, which.mebibytes);
    const StateDictOptions options = OptionsFor(which);
    if (which.operation == Operation::kGet) {
      Iterate(state, world_, Bytes(which), [&] { return model.Get(options); });
    } else {
      const Dict saved = model.Saved(which.kind);
      Iterate(state, world_, Bytes(which), [&] {
        model.Set(saved, options);
        return nullptr;
      });
    }
  }

  int64_t Bytes(const Case& which) const {
    const int64_t whole = ModelBytes(which.mebibytes);
    return which.kind == Kind::kSharded ? whole / world_.size() : whole;
  }

 private:
  Communicator& world_;
  ModelsOfOneSize<FullyShardedModel> models_;
};

std::shared_ptr<void> RegisterAll(const Options& options, Communicator& world, const std::string& run_folder) {
  const auto state_dicts = std::make_shared<StateDicts>(options, world, run_folder);
  for (const int64_t mebibytes : options.sizes) {
    for (const Kind kind : {Kind::kFull, Kind::kRank0, Kind::kSharded}) {
      for (const Operation operation : {Operation::kGet, Operation::kSet}) {
        const Case which{kind, operation, mebibytes};
        const bool gets = operation == Operation::kGet;
        const CaseName name{ToString(kind), gets ? "get_model_state_dict" : "set_model_state_dict", mebibytes};
        RegisterCase(options, world, name, state_dicts->Bytes(which),
                     [state_dicts = state_dicts.get(), which](benchmark::State& state, const std::string& source) {
                       state_dicts->Run(state, source, which);
                     });
      }
    }
  }
  return state_dicts;
}

}  // namespace
}  // namespace shardcts::bench

int main(int argc, char** argv) {
  return shardcts::bench::RunOnRanks(
      argc, argv,
      {"dsd_bench", "Gets and sets state dicts of models under fully_shard, beside a memcpy of the same bytes.",
       "of the state dict: FULL and RANK0 of the whole model, SHARDED of a shard", shardcts::bench::RegisterAll});
}
