#include "rank/test_runner.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <variant>

#include "contract/capability_tree.h"
#include "inventory/inventory.h"
#include "rank/layout.h"
#include "rank/port.h"
#include "rank/run_seed.h"
#include "rank/script_tests.h"
#include "rank/trial.h"
#include "run_files/events.h"
#include "run_files/foreign_text.h"
#include "run_files/input_error.h"
#include "run_files/run_folder.h"

namespace shardcts {
namespace {

// How a test ended on this rank.
struct Ending {
  RankVerdict verdict = RankVerdict::kPass;
  std::string reason;
  bool ran = true;  // the test's body
};

Ending FailWith(const std::string& message, Trial& trial) {
  trial.Fail(message);
  return {RankVerdict::kFail, message};
}

// Of an error that a value can cause: a key that lacks, an index beyond the end, shapes that do not fit.
bool IsOfValues(const std::exception& error) {
  return dynamic_cast<const std::logic_error*>(&error) || dynamic_cast<const c10::Error*>(&error) ||
         dynamic_cast<const std::bad_optional_access*>(&error) || dynamic_cast<const std::bad_variant_access*>(&error);
}

// Runs the body; only here exceptions of a test become a verdict. `session`: where it calls the implementation, whose
// values are at fault when the body cannot work with them.
Ending RunBody(const std::function<void()>& body, Trial& trial, const Session& session, bool* failed_early) {
  *failed_early = true;
  try {
    body();
    *failed_early = false;
  } catch (const PeerStopped& stopped) {
    return {RankVerdict::kAborted, stopped.what()};
  } catch (const Diverged& diverged) {
    return {RankVerdict::kDiverged, diverged.what()};
  } catch (const OptionNotSupported& refusal) {
    if (!trial.failed()) return {RankVerdict::kNotSupported, refusal.what()};
  } catch (const OperationFailed& failure) {
    if (!trial.failed()) trial.FailUnexpectedly(failure.what());
  } catch (const ContractViolation& violation) {
    trial.Fail(std::string("the implementation breaks the contract: ") + violation.what());
  } catch (const std::exception& error) {
    if (session.operations() == 0 || !IsOfValues(error)) return {RankVerdict::kHarnessError, error.what()};
    const std::string what = error.what();
    trial.Fail(fmt::format("after {} the test cannot go on with the values that it was given: {}",
                           session.last_operation(), what.substr(0, what.find('\n'))));
  }
  if (!trial.failed()) return {};
  const Failure& first = trial.failures().front();
  return {RankVerdict::kFail, first.check.empty() ? first.message : first.check + ": " + first.message};
}

// What all tests of a pool share.
struct Pool {
  const Plan& plan;
  const std::vector<std::string>& capabilities;
  HostedImplementation& implementation;
  Session& session;
  ControlPlane& control;
  EventLog& events;
};

std::string MissingCapability(const TestCase& test, const std::vector<std::string>& capabilities) {
  for (const std::string& name : test.capabilities) {
    if (!DeclaresCapability(capabilities, name)) return name;
  }
  return {};
}

TestCase WithLayout(TestCase test, const std::vector<std::string>& capabilities) {
  test.params[kLayoutParameter] = DeclaresCapability(capabilities, "layout.pytorch") ? "pytorch" : "own";
  return test;
}

// What a test of the plan runs.
struct PlannedTest {
  TestCase test;
  int64_t seed = 0;
  std::function<void(Trial&)> body;
};

// One test of the plan.
class Case {
 public:
  Case(const Pool& pool, PlannedTest planned, int index)
      : pool_(pool),
        test_(WithLayout(std::move(planned.test), pool.capabilities)),
        seed_(planned.seed),
        body_(std::move(planned.body)),
        index_(index) {}

  std::string name() const { return fmt::format("{}:{}", index_, test_.id); }

  // *Collective* over the pool.
  void Run() const {
    pool_.events.Write("test_started", WhichTest());
    const std::string missing = MissingCapability(test_, pool_.capabilities);
    Trial trial(test_, pool_.session, phase());
    SetRunSeed(seed_);
    Ending ending;
    std::optional<std::vector<PhaseTiming>> timings;
    bool failed_early = false;
    std::optional<std::string> unclean;
    const auto start = std::chrono::steady_clock::now();
    const auto finish = [&] {
      Finish(trial, ending, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), timings);
    };
    if (!test_.not_applicable.empty()) {
      ending = {RankVerdict::kNotApplicable, test_.not_applicable, false};
      finish();
    } else if (!missing.empty()) {
      ending = {RankVerdict::kNotSupported, "capability " + missing + " is not declared", false};
      finish();
    } else {
      ending = RunPort(trial, &failed_early);
      try {
        timings = Timings();
      } catch (const std::exception& error) {
        const Ending broken = FailWith(std::string("implementation.timings breaks the contract: ") + error.what(), trial);
        if (ending.verdict == RankVerdict::kPass) ending = broken;
      }
      if (pool_.control.controller_is_gone()) throw PeerStopped(ending.reason);
      // A failure is written before the implementation cleans up, which may hang; a pass is written afterwards.
      const bool passed = ending.verdict == RankVerdict::kPass;
      if (!passed) finish();
      unclean = pool_.session.EndTest();
      if (passed && unclean) ending = FailWith("after the test: " + *unclean, trial);
      if (passed) finish();
    }
    // After the event: a peer that is stuck in foreign code never comes here, and the launcher must know that this rank
    // has. Also without a run: a peer may have run it, and must not meet this rank in the next test.
    const bool broken = unclean || !pool_.implementation.usable() || MayBeOutOfStep(ending);
    if (pool_.control.EndOfTest(failed_early, broken)) pool_.implementation.Renew();
    if (phase() || trial.rank() > 0) return;  // the controller removes the folder of a test with phases
    std::error_code ignored;  // of files that cannot be removed the run folder keeps some
    std::filesystem::remove_all(Files(), ignored);
  }

 private:
  const std::optional<PlannedPhase>& phase() const { return pool_.plan.phases[static_cast<size_t>(index_)]; }

  // The folder below which the test may have files.
  std::filesystem::path Files() const {
    return phase() ? phase()->folder : TestFiles(pool_.plan.pool_folder, pool_.plan.recordings[index_]);
  }

  // What every event of the test says.
  Json WhichTest() const {
    Json which = {{"test", test_.id}, {"index", index_}};
    if (phase()) which["phase"] = phase()->index + 1;
    return which;
  }

  // A rank of another host may see another file system.
  void RequireFolder(int rank) const {
    if (!phase() || std::filesystem::is_directory(std::filesystem::symlink_status(phase()->folder))) return;
    throw HarnessError(fmt::format("rank {} does not see the test's folder {}; ranks of several hosts need a folder that they share",
                                   rank, phase()->folder.string()));
  }

  Ending RunPort(Trial& trial, bool* failed_early) const {
    const auto body = [&] {
      RequireFolder(trial.rank());
      pool_.session.StartTest(MakeRecorder(pool_.plan, static_cast<size_t>(index_), seed_, trial.rank()), seed_, Files());
      body_(trial);
    };
    const Ending ending = RunBody(body, trial, pool_.session, failed_early);
    const bool peers_stopped_too =
        ending.verdict == RankVerdict::kAborted || ending.verdict == RankVerdict::kDiverged;
    if (*failed_early && !peers_stopped_too) pool_.control.NotifyPeersOfStop();
    return ending;
  }

  // An operation that failed on some ranks only may have begun other collectives there than on their peers.
  bool MayBeOutOfStep(const Ending& ending) const {
    const bool has_peers = pool_.plan.world_size > 1 && pool_.implementation.communicates_by_itself();
    return ending.ran && has_peers && ending.verdict != RankVerdict::kPass;
  }

  // What the implementation has measured of this test, where it does. Not a step of the test.
  std::optional<std::vector<PhaseTiming>> Timings() const {
    if (!std::ranges::count(pool_.capabilities, "timings") || !pool_.implementation.usable()) return std::nullopt;
    const Outcome outcome = pool_.implementation.Invoke("implementation.timings", {});
    if (!outcome.ok()) return std::nullopt;
    return TimingsFromJson(Encode(outcome.value()));
  }

  void Finish(const Trial& trial, const Ending& ending, double seconds,
              const std::optional<std::vector<PhaseTiming>>& timings) const {
    Json finished = WhichTest();
    finished.update(ToJson(RankReport{.started = true,
                                      .verdict = ending.verdict,
                                      .reason = ending.reason,
                                      .seconds = seconds,
                                      .operations = pool_.session.operations(),
                                      .checks = trial.checks(),
                                      .device_limited = trial.device_limited(),
                                      .failures = trial.failures(),
                                      .timings = timings}));
    pool_.events.Write("test_finished", std::move(finished));
    for (const Failure& failure : trial.failures()) {
      ADD_FAILURE_AT(failure.file.c_str(), failure.line) << failure.check << ": " << failure.message;
    }
    if (ending.verdict == RankVerdict::kHarnessError || ending.verdict == RankVerdict::kDiverged)
      ADD_FAILURE() << ToString(ending.verdict) << ": " << ending.reason;
  }

  const Pool pool_;
  const TestCase test_;
  const int64_t seed_;
  const std::function<void(Trial&)> body_;
  int index_;
};

class CaseTest : public testing::Test {
 public:
  explicit CaseTest(const Case& one) : case_(one) {}
  void TestBody() override { case_.Run(); }

 private:
  const Case case_;
};

std::string At(const Port& port) { return port.place.empty() ? "" : port.place + ": "; }

std::map<std::string, Port> PortsByName(const std::vector<Suite>& suites) {
  std::map<std::string, Port> ports;
  for (const Suite& suite : suites) {
    for (const Port& port : suite.ports) {
      if (!ports.emplace(suite.name + "/" + port.function, port).second) {
        throw HarnessError(fmt::format("{}two bodies for {}/{}", At(port), suite.name, port.function));
      }
    }
  }
  return ports;
}

PlannedTest OfInventory(const Plan& plan, const std::string& id, const std::map<std::string, Port>& ports) {
  const auto test = std::ranges::find(AllTests(), id, &TestCase::id);
  if (test == AllTests().end()) throw InputError("plan: no test \"" + id + "\"");
  return {*test, static_cast<int64_t>(plan.seed), ports.at(test->suite + "/" + test->function).body};
}

PlannedTest OfScript(const Pool& pool, const std::string& id, const std::optional<PlannedPhase>& phase) {
  std::vector<Script> scripts = ReadScriptOfTest(pool.plan.script, id);
  TestCase test = AsTest(scripts, id);
  Script script = std::move(scripts.at(phase ? phase->index : 0));
  UseDevice(script, pool.plan.implementation.device);
  const int64_t seed = script.seed;
  const std::string folder = phase ? phase->folder.string() : "";
  const auto body = [script = std::move(script), folder, &session = pool.session](Trial& trial) {
    try {
      for (const std::string& failure : RunScript(script, session, folder).failures) trial.Fail(failure);
    } catch (const HarnessError& error) {  // the script's arguments do not fit the table
      trial.Fail(error.what());
    }
  };
  return {std::move(test), seed, body};
}

}  // namespace

void CheckPortsAgainstInventory(const std::vector<TestCase>& inventory, const std::vector<Suite>& suites) {
  std::set<std::string> wanted;
  const std::map<std::string, Port> ports = PortsByName(suites);
  for (const TestCase& test : inventory) {
    const std::string name = test.suite + "/" + test.function;
    if (!wanted.insert(name).second || ports.contains(name)) continue;
    const std::string at = test.rule ? test.rule->place + ": " : "";
    throw HarnessError(at + (test.rule ? "rule" : "inventory entry") + " without a body: " + name);
  }
  for (const auto& [name, port] : ports) {
    if (!wanted.contains(name)) throw HarnessError(At(port) + "body without an inventory entry: " + name);
  }
}

void RunTests(const Plan& plan, const std::vector<std::string>& capabilities, HostedImplementation& implementation,
              Session& session, ControlPlane& control, EventLog& events) {
  const Pool pool{plan, capabilities, implementation, session, control, events};
  const std::map<std::string, Port> ports = PortsByName(AllPorts());
  std::vector<Case> cases;
  for (const std::string& id : plan.tests) {
    PlannedTest planned = PlansScriptTests(plan) ? OfScript(pool, id, plan.phases[cases.size()]) : OfInventory(plan, id, ports);
    if (plan.phases[cases.size()] && plan.phases[cases.size()]->index >= planned.test.phases.size()) {
      throw InputError("plan: test \"" + id + "\" has no such phase");
    }
    cases.emplace_back(pool, std::move(planned), static_cast<int>(cases.size()));
  }
  for (const Case& one : cases) {
    // One gtest suite per pool keeps the plan's order.
    testing::RegisterTest("pool", one.name().c_str(), nullptr, nullptr, __FILE__, __LINE__,
                          [&one]() -> testing::Test* { return new CaseTest(one); });
  }
  GTEST_FLAG_SET(catch_exceptions, false);            // what RunBody lets through ends the pool
  [[maybe_unused]] const int code = RUN_ALL_TESTS();  // the verdicts are in the events
}

}  // namespace shardcts
