// What the benchmarks of state dicts share: programs of Google Benchmark under mpiexec, in which all ranks run the same
// benchmarks, on several implementations in one run and beside a memcpy of the same bytes.
//
// A benchmark is called KIND/OPERATION/SIZE/WHO. Its time is that of the slowest rank, from a barrier to the end of the
// call; its bytes are those that the program says. WHO is an implementation, or
//   memcpy      each rank copies that many bytes between two buffers of its own, all ranks at the same time
//   memcpy_new  the same into memory that is allocated for it, as a new tensor is
// All WHO of a case follow each other, and --rounds repeats that: a machine that is busy for a while is so for all.
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

// One case of a program: KIND/OPERATION/SIZE.
struct CaseName {
  std::string kind;
  std::string operation;
  int64_t mebibytes = 1;
};

// Measures `call` on all ranks, each time after `prepare`: from a common begin to the end of the slowest one.
// *Collective*. `bytes`: what it counts as on this rank.
template <class Call>
void Iterate(benchmark::State& state, Communicator& world, int64_t bytes, Call call,
             const std::function<void()>& prepare = [] {}) {
  using Clock = std::chrono::steady_clock;
  for (auto ignored : state) {
    prepare();
    world.Barrier();
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

// Registers the case, in every round once for each implementation and twice for memcpy. `run` measures it on an implementation; it must
// live as long as the benchmarks do.
void RegisterCase(const Options& options, Communicator& world, const CaseName& name, int64_t bytes,
                  const std::function<void(benchmark::State&, const std::string& implementation)>& run);

// What a program is.
struct Program {
  std::string name;
  std::string description;
  std::string bytes;  // what they are, for the result's context
  // *Collective*. Registers all cases. What it returns lives until they have run. `run_folder` is shared by all ranks.
  std::function<std::shared_ptr<void>(const Options&, Communicator& world, const std::string& run_folder)> register_all;
};
// Its main function.
int RunOnRanks(int argc, char** argv, const Program& program);

}  // namespace shardcts::bench
