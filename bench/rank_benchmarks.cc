#include "bench/rank_benchmarks.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "comm/local_communicator.h"
#include "comm/testing/fork_ranks.h"
#include "run_files/input_error.h"

namespace shardcts::bench {
namespace {

// Loading a model of 1 GiB takes longer than the communicator's own limit when the machine is busy.
constexpr std::chrono::minutes kPatience{30};

// Every rank must run every benchmark equally often: calls are collective.
int64_t IterationsOf(int64_t mebibytes) { return std::clamp<int64_t>(256 / mebibytes, 1, 20); }

// Many times the size of a cache. Complete copies of the measured data would not fit into memory in addition.
constexpr int64_t kCopiedBytes = 256 << 20;

void RunMemcpy(benchmark::State& state, Communicator& world, int64_t bytes, bool into_new) {
  const at::Tensor from = at::ones({std::min(bytes, kCopiedBytes)}, at::kByte);
  const at::Tensor used = into_new ? at::Tensor() : at::ones_like(from);
  Iterate(state, world, bytes, [&] {
    std::vector<at::Tensor> copies;
    for (int64_t begin = 0; begin < bytes; begin += from.numel()) {
      copies.push_back(into_new ? at::empty_like(from) : used);
      std::memcpy(copies.back().mutable_data_ptr(), from.const_data_ptr(),
                  static_cast<size_t>(std::min(from.numel(), bytes - begin)));
    }
    return copies;
  });
}

// For the ranks that print nothing.
class NoReport final : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>&) override {}
};

// Reads Google Benchmark's own options, then ours. One rank writes --benchmark_out.
Options ReadOptions(int argc, char** argv, int rank, const std::string& description) {
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
  CLI::App app(description);
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

// *Collective*. A folder that all ranks share during its lifetime.
class SharedFolder {
 public:
  explicit SharedFolder(Communicator& world) : owns_(world.rank() == 0) {
    std::string name = (std::filesystem::temp_directory_path() / "shardcts-bench-XXXXXX").string();
    if (owns_ && !mkdtemp(name.data())) throw InputError("cannot make the folder " + name);
    name_ = world.AllGatherBytes(name).front();
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

void Run(int argc, char** argv, Communicator& world, const Program& program, const RegisterAll& register_all) {
  world.SetDeadline(std::chrono::steady_clock::now() + kPatience);
  const Options options = ReadOptions(argc, argv, world.rank(), program.description);
  const SharedFolder folder(world);
  const std::shared_ptr<void> needed = register_all(options, world, folder.name());
  benchmark::AddCustomContext("ranks", std::to_string(world.size()));
  benchmark::AddCustomContext("bytes", program.bytes);
  benchmark::AddCustomContext("memcpy", "each rank copies as many bytes, all ranks at the same time");
  if (world.rank() == 0) {
    benchmark::RunSpecifiedBenchmarks();
  } else {
    NoReport silent;
    benchmark::RunSpecifiedBenchmarks(&silent);
  }
}

}  // namespace

std::string ToString(Kind kind) {
  switch (kind) {
    case Kind::kFull: return "FULL";
    case Kind::kRank0: return "RANK0";
    case Kind::kSharded: return "SHARDED";
  }
  return "";
}

void RegisterBenchmarks(const Options& options, Communicator& world, const std::string& name, int64_t mebibytes,
                        int64_t bytes,
                        const std::function<void(benchmark::State&, const std::string& implementation)>& run) {
  const auto add = [&](const std::string& who, const std::function<void(benchmark::State&)>& measure) {
    const std::string full_name = fmt::format("{}/{}MiB/{}", name, mebibytes, who);
    benchmark::RegisterBenchmark(full_name.c_str(), measure)
        ->Iterations(IterationsOf(mebibytes))
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
  };
  for (int round = 0; round < options.rounds; ++round) {
    for (const std::string& source : options.implementations) {
      add(source, [run, source](benchmark::State& state) { run(state, source); });
    }
    for (const bool into_new : {false, true}) {
      add(into_new ? "memcpy_new" : "memcpy",
          [&world, bytes, into_new](benchmark::State& state) { RunMemcpy(state, world, bytes, into_new); });
    }
  }
}

int RunOnRanks(int argc, char** argv, const Program& program, const RegisterAll& register_all) {
  const int ranks = TakeRanks(argc, argv);
  if (ranks == 0) {
    std::cerr << "usage: " << argv[0] << " --ranks N [options]\n";
    return 2;
  }
  const std::vector<ForkedRank> ended = ForkRanks(ranks, std::chrono::seconds(10), [&](Rendezvous& rendezvous) {
    at::set_num_threads(1);  // as a rank of a pool
    try {
      Run(argc, argv, *MakeLocalCommunicator(rendezvous), program, register_all);
      return 0;
    } catch (const std::exception& error) {
      if (rendezvous.rank() == 0) std::cerr << program.name << ": " << error.what() << "\n";
      return 2;
    }
  });
  return std::ranges::all_of(ended, [](const ForkedRank& rank) { return rank.status == 0; }) ? 0 : 2;
}

}  // namespace shardcts::bench
