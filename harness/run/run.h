// Run: plans the selected tests on each implementation, drives the rank pools and keeps results.json up to date.
// *Local*.
#pragma once

#include <nlohmann/json.hpp>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "inventory/inventory.h"
#include "pool/rank_pool.h"
#include "results/results.h"
#include "results/known_differences.h"
#include "results/waivers.h"
#include "run_files/implementation_spec.h"

namespace shardcts {

// Compares the recordings of one test on two implementations; the first is the expected one. Returns the object
// `parity` of docs/formats.md without `against`. Throws std::exception when a trace cannot be read.
using ParityFunction =
    std::function<nlohmann::ordered_json(const std::filesystem::path& trace_a, const std::filesystem::path& trace_b)>;

enum class PoolMode {
  kShared,  // one pool per implementation and world size
  kFresh,   // one pool per test: upstream's way, for comparison
};

enum class StartMode {
  kWarm,  // ranks are forks of a process that has loaded the implementation's libraries, where that can be done
  kCold,  // every rank loads everything itself
};

struct RunOptions {
  std::string command;                     // for the record
  std::string program = "build/shardcts";  // first word of the reproduce commands
  std::vector<ImplementationSpec> implementations;
  std::optional<ImplementationSpec> load_with;  // runs the phases that load; none: each implementation its own
  std::vector<TestCase> tests;       // selected
  std::filesystem::path scripts;     // a folder: the tests are its scripts (rank/script_tests.h); empty: the inventory's
  // Which of them an implementation runs; empty: all.
  std::function<bool(const ImplementationSpec& spec, const TestCase& test)> wanted;
  std::filesystem::path run_folder;  // made ready by Run (PrepareRunFolder)
  bool go_on = false;  // the folder holds this same run, cut short: only tests without a verdict run
  std::filesystem::path storage_root;  // where the folders of tests with phases are; empty: below the run folder
  std::filesystem::path rank_program;
  std::string launcher;         // given by the user, for several hosts; empty: none
  std::string control_address;  // as in PoolPlan
  uint64_t seed = 1234;
  std::string trace = "inline";
  PoolMode pool_mode = PoolMode::kShared;
  StartMode start_mode = StartMode::kWarm;  // kFresh pools start cold
  int jobs = 1;  // how many pools run at the same time, at most
  bool own_processors = true;  // each of them on its part of the processors, where its ranks' device is the CPU
  PoolLimits limits;
  int repeat = 1;                                  // how often each test runs, all tests once before any runs again
  std::vector<std::string> required_capabilities;  // a test that needs one and is not supported fails
  bool require_should = false;                     // a rule of level SHOULD that does not hold fails
  std::vector<Waiver> waivers;
  std::vector<KnownDifference> known_differences;  // of recordings, for parity
  std::vector<std::string> waiver_files;        // where they come from, for the record
  std::chrono::year_month_day today = Today();  // by which waivers expire
  int stop_after_hangs = 5;                     // per implementation and world size
  std::string baseline;                         // label to compare with; empty: no parity
  ParityFunction parity;                        // empty: no parity
  std::chrono::milliseconds refresh{3'000};     // of results.json while tests run; more when writing takes long
};

// What a run reports in its course. The calls come from several threads, but one after another.
class RunObserver {
 public:
  virtual ~RunObserver() = default;
  virtual void OnPoolStart(const std::string& implementation, int world_size, size_t tests) {}
  virtual void OnPoolProblem(const std::string& implementation, int world_size, const std::string& problem) {}
  virtual void OnTestStarted(const TestResult& test) {}
  virtual void OnTestOver(const TestResult& test) {}
  virtual void OnParity(const std::string& implementation, size_t done, size_t total) {}
};

// Runs everything, `jobs` pools at a time, and returns the results as written last. Sets `complete` unless
// `interrupted` became true. Throws InputError when two waivers name the same test, and when the run folder, the
// launcher or an implementation (a rank's pool_failed of kind input) is wrong; then results.json is there, with
// complete: false and the rest not_run. With `go_on`: also when the folder holds another run.
Results Run(const RunOptions& options, RunObserver& observer, const std::atomic<bool>& interrupted);

// Runs nothing: makes results.json from what the run that left the folder has written, above all the event files of its
// ranks. `options`: rank_program and parity; the folder says the rest. Tests without a verdict are not_run.
// Throws InputError when the folder holds no run, or a file in it is wrong.
Results Recover(RunOptions options, RunObserver& observer, const std::atomic<bool>& interrupted);

// What every pool of a run has in common: programs, limits and folders; without tests. `number` counts the pools of this
// implementation and world size. `folder`: the run folder, absolute.
PoolPlan NewPool(const RunOptions& options, const ImplementationSpec& spec, int world_size, int number,
                 const std::filesystem::path& folder);

// Those under test, then that of --load-with if it is none of them: what pools are started for.
std::vector<ImplementationSpec> AllImplementations(const RunOptions& options);

// Whether ranks may be forks of a warm process: not where a launcher starts them.
bool StartsWarm(const RunOptions& options);

}  // namespace shardcts
