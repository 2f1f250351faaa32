// What the benchmarks of state dicts share: programs of Google Benchmark (--ranks N), in which all ranks run the same
// benchmarks, on several implementations in one run and beside a memcpy of the same bytes.
//
// A benchmark is called KIND/OPERATION/SIZE/WHO. Its time is that of the slowest rank, from a barrier to the end of the
// call; its bytes are those of the state dict on one rank. WHO is an implementation, or
//   memcpy      each rank copies that many bytes between two buffers of its own, all ranks at the same time
//   memcpy_new  the same into newly allocated memory, like that of a new tensor
// All WHO of a case are measured directly after each other, and --rounds repeats that, so load affects all of them.
#pragma once

#include <ATen/ATen.h>
#include <benchmark/benchmark.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bench/sharded_model.h"
#include "comm/communicator.h"

namespace shardcts::bench {

struct Options {
  std::vector<int64_t> sizes{1, 16, 64, 256};  // MiB of parameters
  std::vector<std::string> implementations{"reference", "torch"};
  int rounds = 5;
  Units units = Units::kEachLayer;
};

// Measures `call` on all ranks, each time after `prepare`: from a common start to the end of the slowest rank.
// *Collective*. `bytes`: what it counts as on this rank.
template <class Call>
void Iterate(
    benchmark::State& state, Communicator& world, int64_t bytes, Call call,
    const std::function<void()>& prepare = [] {}) {
  using Clock = std::chrono::steady_clock;
  for (auto ignored : state) {
    prepare();
    world.Barrier();
    world.Barrier();  // ranks that have waited long for the first one are awake now
    const Clock::time_point start = Clock::now();
    [[maybe_unused]] const auto result = call();  // dropped when the time was taken
    at::Tensor seconds = at::full({1}, std::chrono::duration<double>(Clock::now() - start).count(), at::kDouble);
    world.AllReduce(seconds, ReduceOp::kMax);
    state.SetIterationTime(seconds.item<double>());
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * bytes);
}

// A model for each implementation, all of one size at a time: benchmarks are ordered by size. AModel is made of
// (Measured&, mebibytes, Units).
template <class AModel>
class ModelsOfOneSize {
 public:
  // *Collective*, as is all that follows.
  ModelsOfOneSize(const Options& options, Communicator& world, const std::string& run_folder) : units_(options.units) {
    for (const std::string& source : options.implementations) {
      implementations_[source] = std::make_unique<Measured>(source, world, run_folder);
    }
  }

  AModel& Get(const std::string& source, int64_t mebibytes) {
    if (mebibytes != mebibytes_) models_.clear();
    mebibytes_ = mebibytes;
    std::unique_ptr<AModel>& model = models_[source];
    if (!model) model = std::make_unique<AModel>(*implementations_.at(source), mebibytes, units_);
    return *model;
  }

 private:
  Units units_;
  std::map<std::string, std::unique_ptr<Measured>> implementations_;
  std::map<std::string, std::unique_ptr<AModel>> models_;
  int64_t mebibytes_ = 0;
};

// Which values of a state a rank has: all, all on rank 0 and none on the others, or those of its shard.
enum class Kind { kFull, kRank0, kSharded };
constexpr Kind kKinds[] = {Kind::kFull, Kind::kRank0, Kind::kSharded};
std::string ToString(Kind kind);  // "FULL", "RANK0", "SHARDED"

// Tensors that Adam keeps for a parameter, of its size.
constexpr int64_t kMoments = 2;

// What is measured on a model. *Collective*.
struct Measurement {
  std::function<Dict()> call;             // gives a state dict, or an empty one where it loads
  std::function<void()> prepare = [] {};  // before each call; not measured
};

// What a program measures on a model of each size: KIND/OPERATION.
template <class AModel>
struct Case {
  std::string kind;
  std::string operation;
  int64_t tensors_per_parameter = 1;  // that the state dict has
  bool is_sharded = false;            // a rank has its shard of them, else all
  // *Collective*. Makes the model ready. The model outlives what this gives.
  std::function<Measurement(AModel&)> start;

  // Those of the state dict on one rank.
  int64_t Bytes(int64_t mebibytes, int64_t world_size) const {
    return tensors_per_parameter * ModelBytes(mebibytes) / (is_sharded ? world_size : 1);
  }
};

template <class AModel>
Case<AModel> CaseOf(Kind kind, const std::string& operation, int64_t tensors_per_parameter,
                    const std::function<Measurement(AModel&)>& start) {
  return {ToString(kind), operation, tensors_per_parameter, kind == Kind::kSharded, start};
}

// Registers NAME/SIZE, in every round once for each implementation and twice for memcpy. `run` measures it on
// an implementation.
void RegisterBenchmarks(const Options& options, Communicator& world, const std::string& name, int64_t mebibytes,
                        int64_t bytes,
                        const std::function<void(benchmark::State&, const std::string& implementation)>& run);

// *Collective*. Registers all cases, size by size. What it returns lives until they have run. `run_folder` is shared by
// all ranks.
template <class AModel>
std::shared_ptr<void> RegisterCases(const std::vector<Case<AModel>>& cases, const Options& options, Communicator& world,
                                    const std::string& run_folder) {
  const auto models = std::make_shared<ModelsOfOneSize<AModel>>(options, world, run_folder);
  for (const int64_t mebibytes : options.sizes) {
    for (const Case<AModel>& which : cases) {
      const int64_t bytes = which.Bytes(mebibytes, world.size());
      const auto run = [which, bytes, mebibytes, &world, models = models.get()](benchmark::State& state,
                                                                                const std::string& implementation) {
        const Measurement measured = which.start(models->Get(implementation, mebibytes));
        Iterate(state, world, bytes, measured.call, measured.prepare);
      };
      RegisterBenchmarks(options, world, which.kind + "/" + which.operation, mebibytes, bytes, run);
    }
  }
  return models;
}

// What a program is.
struct Program {
  std::string name;
  std::string description;
  std::string bytes;  // what they are, for the result's context
};
using RegisterAll = std::function<std::shared_ptr<void>(const Options&, Communicator&, const std::string& run_folder)>;
// Its main function. `register_all` as RegisterCases.
int RunOnRanks(int argc, char** argv, const Program& program, const RegisterAll& register_all);

template <class AModel>
int RunOnRanks(int argc, char** argv, const Program& program, const std::vector<Case<AModel>>& cases) {
  return RunOnRanks(argc, argv, program,
                    [&](const Options& options, Communicator& world, const std::string& run_folder) {
                      return RegisterCases(cases, options, world, run_folder);
                    });
}

}  // namespace shardcts::bench
