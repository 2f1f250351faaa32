// state_dict_bench: state dicts of sharded models, saved and loaded by several implementations in one run, beside a
// memcpy of the same bytes. Started under mpiexec; bench/state_dict_ratios.py runs it and compares.
//
// A benchmark is called KIND/OPERATION/SIZE/WHO. Its time is that of the slowest rank, from a barrier to the end of the
// call; the bytes are those of the state dict on one rank: of the whole model for FULL, of the rank's shard for LOCAL
// and SHARDED. OPERATION is state_dict, load_state_dict or first_state_dict, the first one after a forward. WHO is an
// implementation, or
//   memcpy      each rank copies that many bytes between two buffers of its own, all ranks at the same time
//   memcpy_new  the same into memory that is allocated for it, as a new tensor is
// All WHO of a case follow each other, and --rounds repeats that: a machine that is busy for a while is so for all.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iostream>
#include <map>

#include "bench/sharded_model.h"
#include "comm/mpi_communicator.h"
#include "launch/input_error.h"

namespace shardcts::bench {
namespace {

using Clock = std::chrono::steady_clock;

// Loading a model of 1 GiB takes longer than the communicator's own limit when the machine is busy.
constexpr std::chrono::minutes kPatience{30};

struct Options {
  std::vector<int64_t> sizes{1, 16, 64, 256};
  std::vector<std::string> implementations{"reference", "torch"};
  int rounds = 5;
  Units units = Units::kEachLayer;
};

enum class Operation { kStateDict, kFirstStateDict, kLoadStateDict };

const char* ToString(Operation operation) {
  switch (operation) {
    case Operation::kStateDict: return "state_dict";
    case Operation::kFirstStateDict: return "first_state_dict";
    case Operation::kLoadStateDict: return "load_state_dict";
  }
  return "";
}

struct Case {
  StateDictKind kind = StateDictKind::kFull;
  Operation operation = Operation::kStateDict;
  int64_t mebibytes = 1;
};

// Every rank must run every benchmark equally often: calls are collective.
int64_t IterationsOf(const Case& which) { return std::clamp<int64_t>(64 / which.mebibytes, 1, 20); }

// Measures `call` on all ranks, each time after `prepare`: from a common begin to the end of the slowest one.
template <class Call>
void Iterate(benchmark::State& state, Communicator& world, int64_t bytes, Call call,
             const std::function<void()>& prepare = [] {}) {
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

class Program {
 public:
  // *Collective*, as is all that follows.
  Program(const Options& options, Communicator& world, const std::string& run_folder)
      : world_(world), units_(options.units) {
    for (const std::string& source : options.implementations) {
      implementations_[source] = std::make_unique<Measured>(source, world, run_folder);
    }
  }

  void RunImplementation(benchmark::State& state, const std::string& source, const Case& which) {
    ShardedModel& model = ModelOf(source, which.mebibytes);
    if (which.operation == Operation::kLoadStateDict) {
      const Dict saved = model.SaveApart(which.kind);
      Iterate(state, world_, Bytes(which), [&] {
        model.Load(saved);
        return nullptr;
      });
    } else {
      const bool is_first = which.operation == Operation::kFirstStateDict;
      const auto prepare = [&] {
        if (is_first) model.Compute();
      };
      model.SetKind(which.kind);
      Iterate(state, world_, Bytes(which), [&] { return model.Save(); }, prepare);
    }
  }

  void RunMemcpy(benchmark::State& state, bool into_new, const Case& which) {
    const int64_t bytes = Bytes(which);
    const at::Tensor from = at::ones({bytes}, at::kByte);
    const at::Tensor used = into_new ? at::Tensor() : at::zeros({bytes}, at::kByte).fill_(1);
    Iterate(state, world_, bytes, [&] {
      const at::Tensor to = into_new ? at::empty({bytes}, at::kByte) : used;
      std::memcpy(to.mutable_data_ptr(), from.const_data_ptr(), static_cast<size_t>(bytes));
      return to;
    });
  }

 private:
  int64_t Bytes(const Case& which) const {
    const int64_t whole = ModelBytes(which.mebibytes);
    return which.kind == StateDictKind::kFull ? whole : whole / world_.size();
  }

  // Models of one size are there at a time: benchmarks are ordered by size.
  ShardedModel& ModelOf(const std::string& source, int64_t mebibytes) {
    if (mebibytes != mebibytes_) models_.clear();
    mebibytes_ = mebibytes;
    std::unique_ptr<ShardedModel>& model = models_[source];
    if (!model) model = std::make_unique<ShardedModel>(*implementations_.at(source), mebibytes, units_);
    return *model;
  }

  Communicator& world_;
  Units units_;
  std::map<std::string, std::unique_ptr<Measured>> implementations_;
  std::map<std::string, std::unique_ptr<ShardedModel>> models_;
  int64_t mebibytes_ = 0;
};

void Register(Program& program, const Options& options, const Case& which) {
  const auto add = [&](const std::string& who, auto run) {
    const std::string name =
        fmt::format("{}/{}/{}MiB/{}", ToString(which.kind), ToString(which.operation), which.mebibytes, who);
    benchmark::RegisterBenchmark(name.c_str(), run)
        ->Iterations(IterationsOf(which))
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
  };
  for (const std::string& source : options.implementations) {
    add(source,
        [&program, source, which](benchmark::State& state) { program.RunImplementation(state, source, which); });
  }
  for (const bool into_new : {false, true}) {
    add(into_new ? "memcpy_new" : "memcpy",
        [&program, into_new, which](benchmark::State& state) { program.RunMemcpy(state, into_new, which); });
  }
}

void RegisterAll(Program& program, const Options& options) {
  constexpr std::pair<StateDictKind, Operation> kCases[] = {
      {StateDictKind::kFull, Operation::kStateDict},        {StateDictKind::kFull, Operation::kFirstStateDict},
      {StateDictKind::kFull, Operation::kLoadStateDict},    {StateDictKind::kLocal, Operation::kStateDict},
      {StateDictKind::kLocal, Operation::kLoadStateDict},   {StateDictKind::kSharded, Operation::kStateDict},
      {StateDictKind::kSharded, Operation::kLoadStateDict},
  };
  for (const int64_t mebibytes : options.sizes) {
    for (const auto& [kind, operation] : kCases) {
      for (int round = 0; round < options.rounds; ++round) Register(program, options, {kind, operation, mebibytes});
    }
  }
}

// Of the ranks that say nothing.
class NoReport final : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>&) override {}
};

// Reads Google Benchmark's own options, then ours. One rank writes --benchmark_out.
Options ReadOptions(int argc, char** argv, int rank) {
  std::vector<char*> words;
  for (int i = 0; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word.starts_with("--benchmark_enable_random_interleaving")) {
      throw InputError("--benchmark_enable_random_interleaving: all ranks must run in the same order");
    }
    if (rank == 0 || !word.starts_with("--benchmark_out")) words.push_back(argv[i]);
  }
  int count = static_cast<int>(words.size());
  benchmark::Initialize(&count, words.data());
  Options options;
  CLI::App app("Saves and loads state dicts of sharded models, beside a memcpy of the same bytes.");
  app.add_option("--sizes", options.sizes, "sizes of the models in MiB")->delimiter(',')->check(CLI::PositiveNumber);
  app.add_option("--impl", options.implementations, "implementations")->delimiter(',');
  app.add_option("--rounds", options.rounds, "how often each case is measured")->check(CLI::PositiveNumber);
  bool one_unit = false;
  app.add_flag("--one-unit", one_unit, "one unit over all layers, so that rows lie in the shards of other ranks");
  try {
    app.parse(count, words.data());
  } catch (const CLI::ParseError& error) {
    throw InputError(error.what());
  }
  if (one_unit) options.units = Units::kOne;
  return options;
}

// *Collective*. A folder that all ranks share for as long as this lives.
class SharedFolder {
 public:
  explicit SharedFolder(Communicator& world) : owns_(world.rank() == 0) {
    std::string name = (std::filesystem::temp_directory_path() / "shardcts-bench-XXXXXX").string();
    if (owns_ && !mkdtemp(name.data())) throw InputError("cannot make the folder " + name);
    name_ = world.BroadcastBytes(name, 0);
  }
  ~SharedFolder() {
    std::error_code ignored;
    if (owns_) std::filesystem::remove_all(name_, ignored);
  }
  const std::string& name() const { return name_; }

 private:
  bool owns_;
  std::string name_;
};

void Run(int argc, char** argv, Communicator& world) {
  world.SetDeadline(Clock::now() + kPatience);
  const Options options = ReadOptions(argc, argv, world.rank());
  const SharedFolder folder(world);
  Program program(options, world, folder.name());
  RegisterAll(program, options);
  benchmark::AddCustomContext("ranks", std::to_string(world.size()));
  benchmark::AddCustomContext("bytes",
                              "of the state dict on one rank: FULL the whole model, LOCAL and SHARDED a shard");
  benchmark::AddCustomContext("memcpy", "each rank copies as many bytes, all ranks at the same time");
  if (world.rank() == 0) {
    benchmark::RunSpecifiedBenchmarks();
  } else {
    NoReport silent;
    benchmark::RunSpecifiedBenchmarks(&silent);
  }
}

}  // namespace
}  // namespace shardcts::bench

int main(int argc, char** argv) {
  at::set_num_threads(1);  // as a rank of a pool
  const shardcts::MpiSession session(&argc, &argv);
  try {
    const auto world = shardcts::MakeMpiCommunicator();
    shardcts::bench::Run(argc, argv, *world);
    return 0;
  } catch (const std::exception& error) {
    if (session.rank() == 0) std::cerr << "state_dict_bench: " << error.what() << "\n";
    return 2;
  }
}
