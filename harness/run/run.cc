#include "run/run.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <thread>

#include "process/processors.h"
#include "process/workers.h"
#include "run/run_ledger.h"
#include "run_files/input_error.h"
#include "run_files/run_folder.h"
#include "start/warm_process.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr int kFailedStartsAllowed = 2;
constexpr size_t kTestsWorthAPool = 8;  // fewer are not shared out among several, unless each has its own

// What the pools of one implementation, world size and kind of ranks have in common.
struct World {
  size_t implementation = 0;
  int world_size = 1;
  RankKind rank_kind = RankKind::kProcesses;
  size_t pools = 0;                 // entry in the ledger
  std::shared_ptr<WarmStart> warm;  // null: cold starts
  std::atomic<int> hangs = 0;
};

// What one thread runs, on one pool after another.
struct Piece {
  std::shared_ptr<World> world;
  std::vector<size_t> jobs;
};

// Among as many pools at the same time as their tests are worth, every n-th job to each.
std::vector<std::vector<size_t>> ShareOut(const std::vector<size_t>& jobs, const RunOptions& options) {
  const size_t worth = options.pool_mode == PoolMode::kFresh ? 1 : kTestsWorthAPool;
  const size_t shares = std::clamp<size_t>(jobs.size() / worth, 1, static_cast<size_t>(std::max(options.jobs, 1)));
  std::vector<std::vector<size_t>> shared(shares);
  for (size_t i = 0; i < jobs.size(); ++i) shared[i % shares].push_back(jobs[i]);
  return shared;
}

class RunDriver {
 public:
  RunDriver(const RunOptions& options, RunObserver& observer, const std::atomic<bool>& interrupted)
      : options_(options),
        interrupted_(interrupted),
        folder_(fs::absolute(options.run_folder)),
        ledger_(options, observer, folder_) {}

  Results Go() {
    PrepareRunFolder(folder_);
    ledger_.Write();
    try {
      std::vector<Piece> pieces = Pieces();
      RunPieces(
          pieces.size(), static_cast<size_t>(options_.jobs),
          [&](size_t piece) { Run(std::exchange(pieces[piece], {})); }, interrupted_, stop_);
    } catch (const InputError&) {
      ledger_.GiveUp("the run ended with an input error");
      ledger_.Write();
      throw;
    }
    if (interrupted_) {
      ledger_.GiveUp("interrupted");
    } else {
      ledger_.CompareAll(interrupted_);
    }
    return ledger_.Close(!interrupted_);
  }

 private:
  std::vector<Piece> Pieces() {
    std::map<std::string, std::shared_ptr<WarmStart>> warm_starts;
    std::vector<Piece> pieces;
    for (size_t implementation = 0; implementation < options_.implementations.size(); ++implementation) {
      const Json entry = PlanEntry(options_.implementations[implementation]);
      std::shared_ptr<WarmStart>& warm = warm_starts[WarmStart::KeyOf(entry)];
      if (!warm && StartsWarm(options_)) warm = std::make_shared<WarmStart>(options_.rank_program, entry, folder_);
      for (const auto& [kind, jobs] : ledger_.WorldsOf(implementation)) {
        const auto& [world_size, rank_kind] = kind;
        const auto world = std::make_shared<World>(implementation, world_size, rank_kind,
                                                   ledger_.AddPools(implementation, world_size, rank_kind), warm);
        for (std::vector<size_t>& share : ShareOut(jobs, options_)) pieces.push_back({world, std::move(share)});
      }
    }
    return pieces;
  }

  // One pool after another until each of the jobs has a verdict.
  void Run(const Piece& piece) {
    World& world = *piece.world;
    const ProcessorShares::Share processors(processors_);
    int failed_starts = 0;
    for (std::vector<size_t> rest = piece.jobs; !rest.empty() && !stop_; rest = ledger_.Undecided(piece.jobs)) {
      if (world.hangs > options_.stop_after_hangs) {
        ledger_.Decide(rest, Verdict::kNotRun,
                       "stopped after " + std::to_string(world.hangs) + " hangs (--stop-after-hangs)");
        return;
      }
      if (options_.pool_mode == PoolMode::kFresh) rest.resize(1);
      const PoolEnd end = RunOnePool(world, rest, processors);
      if (end.kind == PoolEnd::Kind::kInputError) {
        // An adapter's own message begins with its name already.
        const std::string& label = SpecOf(world).label;
        throw InputError(end.reason.starts_with(label) ? end.reason : label + ": " + end.reason);
      }
      const bool progress = ledger_.Undecided(rest).size() < rest.size();
      failed_starts = progress ? 0 : failed_starts + 1;
      if (failed_starts == kFailedStartsAllowed) {
        ledger_.Decide(rest, Verdict::kHarnessError,
                       "the ranks could not be started twice in a row: " + end.reason);
        failed_starts = 0;
      }
    }
  }

  PoolEnd RunOnePool(World& world, const std::vector<size_t>& jobs, const ProcessorShares::Share& processors) {
    const ImplementationSpec& spec = SpecOf(world);
    PoolPlan plan;
    plan.launcher = options_.launcher;
    plan.rank_program = options_.rank_program;
    plan.implementation = PlanEntry(spec);
    plan.world_size = world.world_size;
    plan.rank_kind = world.rank_kind;
    plan.seed = options_.seed;
    plan.trace = options_.trace;
    plan.run_folder = folder_;
    plan.pool_folder = PoolFolder(folder_, spec.label, world.world_size, ledger_.BeginPool(world.pools, jobs.size()),
                                  world.rank_kind);
    plan.trace_folder = TraceFolder(folder_, spec.label);
    plan.limits = options_.limits;
    plan.warm = WarmFor(world);
    // Ranks of another device may have to be near it.
    if (options_.own_processors && spec.device == "cpu") plan.processors = [&processors] { return processors.Now(); };
    for (size_t job : jobs) {
      plan.tests.push_back(ledger_.IdOf(job));
      plan.recordings.push_back(ledger_.RecordingOf(job));
      fs::remove_all(TestTraces(plan.trace_folder, plan.recordings.back()));  // of a pool that was cut short
    }
    PoolCallbacks callbacks;
    callbacks.on_ready = [&](const Json& said) { ledger_.Describe(world.implementation, said); };
    callbacks.on_test_started = [&](size_t index) { ledger_.TellStarted(jobs[index]); };
    callbacks.on_test_over = [&](size_t index, const std::vector<RankReport>& ranks,
                                 const std::optional<Incident>& incident, double seconds) {
      const Verdict verdict = ledger_.Finish(jobs[index], plan, ranks, incident, seconds);
      if (verdict == Verdict::kHang) ++world.hangs;
    };
    const PoolEnd end = RunPool(plan, callbacks, stop_);
    if (plan.warm && end.kind == PoolEnd::Kind::kStartFailed) {
      world.warm->GiveUp("a pool did not start warm: " + end.reason);
    }
    ledger_.EndPool(world.pools, end);
    return end;
  }

  const ImplementationSpec& SpecOf(const World& world) const { return options_.implementations[world.implementation]; }

  // The warm process for the next pool; nullptr: a cold start. The results say why.
  std::shared_ptr<WarmProcess> WarmFor(const World& world) {
    if (!world.warm) return nullptr;
    const std::shared_ptr<WarmProcess> warm = world.warm->Get(options_.limits.start, stop_);
    ledger_.DescribeWarmStart(world.implementation,
                              warm ? Json{{"seconds", warm->seconds()}} : Json{{"problem", world.warm->Problem()}});
    return warm;
  }

  const RunOptions& options_;
  const std::atomic<bool>& interrupted_;
  std::atomic<bool> stop_ = false;
  const fs::path folder_;
  RunLedger ledger_;
  ProcessorShares processors_{AllowedProcessors()};
};

}  // namespace

Json PlanEntry(const ImplementationSpec& spec) {
  return {{"label", spec.label},
          {"source", spec.source},
          {"options", Json(spec.options)},
          {"device", spec.device},
          {"mutant", spec.mutant ? Json(*spec.mutant) : Json()}};
}

bool StartsWarm(const RunOptions& options) {
  return options.start_mode == StartMode::kWarm && options.pool_mode == PoolMode::kShared;
}

Results Run(const RunOptions& options, RunObserver& observer, const std::atomic<bool>& interrupted) {
  return RunDriver(options, observer, interrupted).Go();
}

}  // namespace shardcts
