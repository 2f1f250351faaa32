#include "run/run.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "process/processors.h"
#include "process/workers.h"
#include "run/earlier_run.h"
#include "run/piece_queue.h"
#include "run/restore_pool.h"
#include "run/run_ledger.h"
#include "run_files/input_error.h"
#include "run_files/run_folder.h"
#include "start/warm_process.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr int kFailedStartsAllowed = 2;
constexpr size_t kTestsWorthAPool = 8;  // fewer are not divided between several, unless each test has its own

// What the pools of one implementation and world size have in common.
struct World {
  size_t implementation = 0;  // that its ranks run
  int world_size = 1;
  size_t pools = 0;                 // entry in the ledger
  std::shared_ptr<WarmStart> warm;  // null: cold starts
  std::atomic<int> hangs = 0;
};

// What one thread runs, on one pool after another.
struct Piece {
  std::shared_ptr<World> world;
  size_t under_test = 0;  // the implementation whose tests these are
  std::vector<Unit> units;
};

// Divides the units between as many pools at the same time as are worth their start, every n-th unit to each.
std::vector<std::vector<Unit>> ShareOut(const std::vector<Unit>& units, const RunOptions& options) {
  const size_t worth = options.pool_mode == PoolMode::kFresh ? 1 : kTestsWorthAPool;
  const size_t shares = std::clamp<size_t>(units.size() / worth, 1, static_cast<size_t>(std::max(options.jobs, 1)));
  std::vector<std::vector<Unit>> shared(shares);
  for (size_t i = 0; i < units.size(); ++i) shared[i % shares].push_back(units[i]);
  return shared;
}

class RunDriver {
 public:
  RunDriver(const RunOptions& options, RunObserver& observer, const std::atomic<bool>& interrupted)
      : options_(options),
        interrupted_(interrupted),
        folder_(fs::absolute(options.run_folder)),
        specs_(AllImplementations(options)),
        has_started_(specs_.size()),
        ledger_(options, observer, folder_) {}

  Results Go() {
    Open();
    try {
      ledger_.OpenFolders(options_.go_on);
      MakeWorlds();
      if (earlier_) ledger_.RemoveOtherFolders();
      ledger_.WriteWhereLocked(*lock_);
      ledger_.Write();
      const size_t threads = static_cast<size_t>(options_.jobs);
      PieceQueue<Piece> queue([this] { return Pieces(); }, stop_);
      RunPieces(
          threads, threads, [&](size_t) { queue.Work([this](const Piece& piece) { Run(piece); }); }, interrupted_, stop_);
    } catch (const std::exception&) {
      ledger_.GiveUp("the run ended with an error");
      ledger_.CloseFolders();
      ledger_.Write();
      throw;
    }
    return Close();
  }

  // Only what the run before has left.
  Results GoNowhere() {
    Open();
    MakeWorlds();
    ledger_.WriteWhereLocked(*lock_);
    const bool complete = ledger_.GiveUp("has no verdict in the files of its run; shardcts run --continue runs it") == 0;
    ledger_.CompareAll(interrupted_);
    return ledger_.Close(complete && !interrupted_);
  }

 private:
  // Makes the folder this run's own. An earlier results.json stays until there is one that knows as much.
  void Open() {
    if (options_.go_on) {
      lock_.emplace(folder_);
      earlier_.emplace(folder_);
      ledger_.GoOnWith(*earlier_);
      return;
    }
    lock_.emplace(PrepareRunFolder(folder_));
    ledger_.WriteWhereLocked(*lock_);
    ledger_.Write();
  }

  Results Close() {
    if (interrupted_) {
      ledger_.GiveUp("interrupted");
    } else {
      ledger_.CompareAll(interrupted_);
    }
    return ledger_.Close(!interrupted_);
  }

  // Of every phase of every test.
  void MakeWorlds() {
    std::set<std::pair<size_t, int>> needed;
    for (size_t implementation = 0; implementation < options_.implementations.size(); ++implementation) {
      for (const Unit& unit : ledger_.OpenUnits(implementation)) {
        const TestCase test = ledger_.TestOf(unit.job);
        if (test.phases.empty()) needed.emplace(implementation, test.world_size);
        for (const TestPhase& phase : test.phases) {
          needed.emplace(RunnerOf(implementation, phase), phase.world_size);
        }
      }
    }
    std::map<std::string, std::shared_ptr<WarmStart>> warm_starts;
    for (const auto& [implementation, world_size] : needed) {
      const ImplementationSpec& spec = specs_[implementation];
      std::shared_ptr<WarmStart>& warm = warm_starts[WarmStart::KeyOf(spec)];
      if (!warm && StartsWarm(options_)) warm = std::make_shared<WarmStart>(options_.rank_program, spec, folder_);
      worlds_[{implementation, world_size}] = std::make_shared<World>(
          implementation, world_size, ledger_.AddPools(implementation, world_size), warm);
    }
    if (!earlier_) return;
    for (const auto& [key, world] : worlds_) Restore(*world);
    TakeOverPhases();
  }

  // What can run now: of every job without a verdict what is next.
  std::vector<Piece> Pieces() {
    std::vector<Piece> pieces;
    for (size_t implementation = 0; implementation < options_.implementations.size(); ++implementation) {
      std::map<std::shared_ptr<World>, std::vector<Unit>, InOrder> units;
      for (const Unit& unit : ledger_.OpenUnits(implementation)) units[WorldOf(implementation, unit)].push_back(unit);
      for (const auto& [world, of_world] : units) {
        for (std::vector<Unit>& share : ShareOut(of_world, options_)) {
          pieces.push_back({world, implementation, std::move(share)});
        }
      }
    }
    return pieces;
  }

  struct InOrder {
    bool operator()(const std::shared_ptr<World>& a, const std::shared_ptr<World>& b) const {
      return std::pair(a->implementation, a->world_size) < std::pair(b->implementation, b->world_size);
    }
  };

  std::shared_ptr<World> WorldOf(size_t under_test, const Unit& unit) const {
    const TestCase test = ledger_.TestOf(unit.job);
    if (test.phases.empty()) return worlds_.at({under_test, test.world_size});
    const TestPhase& phase = test.phases.at(unit.phase);
    return worlds_.at({RunnerOf(under_test, phase), phase.world_size});
  }

  // The index in specs_ of the implementation that runs the phase.
  size_t RunnerOf(size_t under_test, const TestPhase& phase) const {
    return phase.loads() && options_.load_with ? IndexOf(options_.load_with->label) : under_test;
  }

  // specs_.size(): it is none of this run.
  size_t IndexOf(const std::string& label) const {
    return static_cast<size_t>(std::ranges::find(specs_, label, &ImplementationSpec::label) - specs_.begin());
  }

  // Takes over what the world's earlier pools have come to.
  void Restore(const World& world) {
    const std::string& label = SpecOf(world).label;
    Plan known;
    known.implementation = SpecOf(world);
    known.run_folder = folder_;
    for (int pool = 0;; ++pool) {
      known.pool_folder = PoolFolder(folder_, label, world.world_size, pool);
      if (!fs::exists(known.pool_folder)) return;
      ledger_.BeginPool(world.pools, 0);
      const std::string relative = known.pool_folder.lexically_relative(folder_).string();
      const std::optional<RestoredPool> pool_before = RestorePool(
          known,
          [&](const Plan& plan, const std::string& recording) {
            return earlier_->IncidentOf(plan.under_test, recording, relative);
          },
          [&](const RestoredPool& from, size_t index, const auto& ranks, const auto& incident) {
            if (!from.implementation.is_null()) ledger_.Describe(world.implementation, from.implementation);
            const std::optional<size_t> job = ledger_.JobOf(IndexOf(from.plan.under_test), from.plan.recordings[index]);
            if (!job) return;
            const std::optional<PlannedPhase>& phase = from.plan.phases[index];
            if (phase) {
              restored_[{*job, phase->folder}][phase->index] = {from.plan, ranks, incident};
            } else {
              ledger_.Finish({*job}, from.plan, ranks, incident, SecondsOf(ranks));
            }
          });
      if (!pool_before) continue;
      for (const auto& phase : pool_before->plan.phases) {
        if (phase) ledger_.NoteEarlierFolder(phase->folder);
      }
    }
  }

  // A test whose phases were all run in one folder has its verdict; any other begins anew.
  void TakeOverPhases() {
    for (const auto& [key, phases] : restored_) {
      const TestCase test = ledger_.TestOf(key.first);
      std::vector<PhaseResult> results;
      for (const auto& [index, phase] : phases) {
        if (index != results.size() || index >= test.phases.size()) break;
        results.push_back(CombinePhase(test, index, phase.ranks, phase.incident, SecondsOf(phase.ranks)));
        results.back().implementation = phase.plan.implementation.label;
        results.back().log = phase.plan.pool_folder.lexically_relative(folder_).string();
        if (DecidesTest(test, results)) {
          ledger_.TakeOver(key.first, phase.plan.trace_folder, key.second, results);
          break;
        }
      }
    }
    restored_.clear();
  }

  static double SecondsOf(const std::vector<RankReport>& ranks) {
    double seconds = 0;
    for (const RankReport& rank : ranks) seconds = std::max(seconds, rank.seconds);
    return seconds;
  }

  // One pool after another until each of the units is over.
  void Run(const Piece& piece) {
    World& world = *piece.world;
    const ProcessorShares::Share processors(processors_);
    int failed_starts = 0;
    const auto open = [&] { return ledger_.StillOpen(piece.units); };
    for (std::vector<Unit> rest = open(); !rest.empty() && !stop_; rest = open()) {
      if (world.hangs > options_.stop_after_hangs) {
        ledger_.Decide(rest, Verdict::kNotRun,
                       "stopped after " + std::to_string(world.hangs) + " hangs (--stop-after-hangs)");
        return;
      }
      if (options_.pool_mode == PoolMode::kFresh) rest.resize(1);
      const PoolEnd end = RunOnePool(piece, rest, processors);
      if (IsWrongInput(world, end)) {
        // An adapter's own message begins with its name already.
        const std::string& label = SpecOf(world).label;
        throw InputError(end.reason.starts_with(label) ? end.reason : label + ": " + end.reason);
      }
      const bool progress = ledger_.StillOpen(rest).size() < rest.size();
      for (const size_t test : end.cut_short) ledger_.CutShort(rest[test]);
      failed_starts = progress ? 0 : failed_starts + 1;
      if (failed_starts < kFailedStartsAllowed) continue;
      if (end.implementation_failed && !has_started_[world.implementation]) {
        throw InputError(SpecOf(world).label + ": while the implementation was made: " + end.reason);
      }
      // One cause, one error: the others were not tried.
      const std::string what =
          end.implementation_failed ? "implementation could not be made" : "ranks could not be started";
      ledger_.Decide({rest.front()}, end.implementation_failed ? Verdict::kFail : Verdict::kHarnessError,
                     "the " + what + " twice in a row: " + end.reason);
      ledger_.Decide(rest, Verdict::kNotRun, "the ranks could not be started: " + end.reason);
      return;
    }
  }

  // What is wrong with an implementation shows when it is made for the first time. Later it is that start's failure: a
  // machine that is too busy, a port that is taken.
  bool IsWrongInput(const World& world, const PoolEnd& end) const {
    if (end.kind != PoolEnd::Kind::kInputError) return false;
    return !end.implementation_failed || !has_started_[world.implementation];
  }

  PoolEnd RunOnePool(const Piece& piece, const std::vector<Unit>& units, const ProcessorShares::Share& processors) {
    World& world = *piece.world;
    const ImplementationSpec& spec = SpecOf(world);
    PoolPlan pool =
        NewPool(options_, spec, world.world_size, ledger_.BeginPool(world.pools, units.size()), folder_);
    Plan& plan = pool.plan;
    plan.under_test = options_.implementations[piece.under_test].label;
    plan.script = options_.scripts;
    plan.trace_folder = TraceFolder(folder_, plan.under_test);
    if (!pool.UsesMpi()) pool.warm = WarmFor(world);
    // Ranks of another device may have to be near it.
    if (options_.own_processors && spec.device == "cpu") pool.processors = [&processors] { return processors.Now(); };
    for (const Unit& unit : units) AddTo(plan, unit);
    bool asked = false;  // the pool ended with a death that its test had asked for
    PoolCallbacks callbacks;
    callbacks.on_ready = [&](const Json& said) {
      has_started_[world.implementation] = true;
      ledger_.Describe(world.implementation, said);
    };
    callbacks.on_test_started = [&](size_t index) { ledger_.TellStarted(units[index].job); };
    callbacks.on_test_over = [&](size_t index, const std::vector<RankReport>& ranks,
                                 const std::optional<Incident>& incident, double seconds) {
      const Verdict verdict = ledger_.Finish(units[index], plan, ranks, incident, seconds);
      if (verdict == Verdict::kHang) ++world.hangs;
      asked = asked || (incident && verdict == Verdict::kPass);
    };
    PoolEnd end = RunPool(pool, callbacks, stop_);
    if (asked) end.reason.clear();
    if (end.kind == PoolEnd::Kind::kInputError && !IsWrongInput(world, end)) {
      end.kind = PoolEnd::Kind::kStartFailed;
    } else if (pool.warm && end.kind == PoolEnd::Kind::kStartFailed) {
      world.warm->GiveUp("a pool did not start warm: " + end.reason);
    }
    ledger_.EndPool(world.pools, end);
    return end;
  }

  void AddTo(Plan& plan, const Unit& unit) {
    const TestCase test = ledger_.TestOf(unit.job);
    plan.tests.push_back(test.id);
    plan.recordings.push_back(ledger_.RecordingOf(unit.job));
    plan.phases.emplace_back();
    if (!test.phases.empty()) plan.phases.back() = PlannedPhase{unit.phase, ledger_.FolderOf(unit), test.phases.at(unit.phase).role};
    const fs::path traces = TestTraces(plan.trace_folder, plan.recordings.back());
    fs::remove_all(unit.phase == 0 ? traces : PhaseTraces(traces, unit.phase));  // of a pool that was cut short
  }

  const ImplementationSpec& SpecOf(const World& world) const { return specs_[world.implementation]; }

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
  const std::vector<ImplementationSpec> specs_;
  std::vector<std::atomic<bool>> has_started_;  // by implementation: its ranks were ready once
  std::optional<FolderLock> lock_;
  std::optional<EarlierRun> earlier_;
  RunLedger ledger_;
  std::map<std::pair<size_t, int>, std::shared_ptr<World>> worlds_;  // implementation, world size
  // What an earlier run has left of a phase.
  struct RestoredPhase {
    Plan plan;
    std::vector<RankReport> ranks;
    std::optional<Incident> incident;
  };
  std::map<std::pair<size_t, fs::path>, std::map<size_t, RestoredPhase>> restored_;  // job, the test's folder
  ProcessorShares processors_{AllowedProcessors()};
};

}  // namespace

PoolPlan NewPool(const RunOptions& options, const ImplementationSpec& spec, int world_size, int number,
                 const fs::path& folder) {
  PoolPlan pool;
  pool.rank_program = options.rank_program;
  pool.launcher = options.launcher;
  pool.control_address = options.control_address;
  pool.limits = options.limits;
  Plan& plan = pool.plan;
  plan.implementation = spec;
  plan.world_size = world_size;
  plan.seed = options.seed;
  plan.trace = options.trace;
  plan.run_folder = folder;
  plan.pool_folder = PoolFolder(folder, spec.label, world_size, number);
  plan.trace_folder = TraceFolder(folder, spec.label);
  return pool;
}

std::vector<ImplementationSpec> AllImplementations(const RunOptions& options) {
  std::vector<ImplementationSpec> all = options.implementations;
  if (options.load_with && !std::ranges::count(all, options.load_with->label, &ImplementationSpec::label)) {
    all.push_back(*options.load_with);
  }
  std::map<std::string, std::string> folders;  // two in one would take each other's events for their own
  for (const ImplementationSpec& spec : all) {
    const auto [known, is_new] = folders.emplace(FolderName(spec.label), spec.label);
    if (!is_new) {
      throw InputError("--impl " + spec.label + " and " + known->second + " have one folder, " + known->first +
                       ", for their labels differ in signs only: run them one after the other");
    }
  }
  return all;
}

bool StartsWarm(const RunOptions& options) {
  return options.start_mode == StartMode::kWarm && options.pool_mode == PoolMode::kShared && options.launcher.empty();
}

Results Run(const RunOptions& options, RunObserver& observer, const std::atomic<bool>& interrupted) {
  return RunDriver(options, observer, interrupted).Go();
}

Results Recover(RunOptions options, RunObserver& observer, const std::atomic<bool>& interrupted) {
  EarlierRun(options.run_folder).FillIn(options);
  options.go_on = true;
  return RunDriver(options, observer, interrupted).GoNowhere();
}

}  // namespace shardcts
