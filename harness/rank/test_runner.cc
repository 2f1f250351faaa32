#include "rank/test_runner.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <set>

#include "inventory/inventory.h"
#include "rank/port.h"
#include "rank/trial.h"
#include "run_files/input_error.h"
#include "run_files/run_folder.h"

namespace shardcts {
namespace {

// How a test ended on this rank.
struct Ending {
  std::string verdict = "pass";
  std::string reason;
};

Json ChecksToJson(const Trial& trial) {
  Json checks = Json::object();
  for (const auto& [id, count] : trial.checks()) {
    checks[id] = {{"evaluated", count.evaluated}, {"strict", count.strict}, {"failed", count.failed}};
  }
  return checks;
}

Json FailuresToJson(const Trial& trial) {
  Json failures = Json::array();
  for (const RecordedFailure& failure : trial.failures()) {
    failures.push_back({{"check", failure.check},
                        {"message", failure.message},
                        {"file", failure.file},
                        {"line", failure.line},
                        {"operation", failure.operation}});
  }
  return failures;
}

// Runs the body; the only place where exceptions of a test become a verdict.
Ending RunBody(const std::function<void()>& body, Trial& trial, bool* failed_early) {
  *failed_early = true;
  try {
    body();
    *failed_early = false;
  } catch (const PeerStopped& stopped) {
    return {"aborted", stopped.what()};
  } catch (const Diverged& diverged) {
    return {"diverged", diverged.what()};
  } catch (const OperationFailed& failure) {
    if (!trial.failed()) trial.Fail(failure.what());
  } catch (const ContractViolation& violation) {
    trial.Fail(std::string("the implementation breaks the contract: ") + violation.what());
  } catch (const std::exception& error) {
    return {"harness_error", error.what()};
  }
  if (!trial.failed()) return {};
  const RecordedFailure& first = trial.failures().front();
  return {"fail", first.check.empty() ? first.message : first.check + ": " + first.message};
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
    if (!std::ranges::count(capabilities, name)) return name;
  }
  return {};
}

// One test of the plan.
class Case {
 public:
  Case(const Pool& pool, const TestCase& test, PortBody body, int index)
      : pool_(pool), test_(test), body_(body), index_(index) {}

  std::string name() const { return fmt::format("{}:{}", index_, test_.id); }

  // *Collective* over the pool.
  void Run() const {
    pool_.events.Write("test_started", {{"test", test_.id}, {"index", index_}});
    const std::string missing = MissingCapability(test_, pool_.capabilities);
    Trial trial(test_, pool_.session);
    bool failed_early = false;
    Ending ending;
    Json timings;
    const auto start = std::chrono::steady_clock::now();
    if (!test_.not_applicable.empty()) {
      ending = {"not_applicable", test_.not_applicable};
    } else if (!missing.empty()) {
      ending = {"not_supported", "capability " + missing + " is not declared"};
    } else {
      ending = RunPort(trial, &failed_early);
      timings = Timings();
    }
    Finish(trial, ending, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), timings);
    // After the event: a peer that is stuck in foreign code never comes here, and the launcher must know that this rank
    // has. Also without a run: a peer may have run it, and must not meet this rank in the next test.
    if (pool_.control.EndOfTest(failed_early, !pool_.implementation.usable())) pool_.implementation.Renew();
  }

 private:
  Ending RunPort(Trial& trial, bool* failed_early) const {
    const auto body = [&] {
      const Plan& plan = pool_.plan;
      pool_.session.StartTest(MakeRecorder(plan, plan.recordings[index_], test_.id, plan.seed, trial.rank()), plan.seed);
      body_(trial);
    };
    const Ending ending = RunBody(body, trial, failed_early);
    const bool peers_stopped_too = ending.verdict == "aborted" || ending.verdict == "diverged";
    if (*failed_early && !peers_stopped_too) pool_.control.RingPeers();
    pool_.session.EndTest();
    return ending;
  }

  // What the implementation has measured of this test; null where nobody has asked it to. Not a step of the test.
  Json Timings() const {
    if (!std::ranges::count(pool_.capabilities, "timings") || !pool_.implementation.usable()) return nullptr;
    const Outcome outcome = pool_.implementation.Invoke("implementation.timings", {});
    return outcome.ok() ? Encode(outcome.value()) : Json();
  }

  void Finish(const Trial& trial, const Ending& ending, double seconds, const Json& timings) const {
    Json device_limited = Json::object();
    for (const auto& [check, reason] : trial.device_limited()) device_limited[check] = reason;
    Json finished = {{"test", test_.id},
                     {"index", index_},
                     {"verdict", ending.verdict},
                     {"reason", ending.reason},
                     {"seconds", seconds},
                     {"operations", pool_.session.operations()},
                     {"checks", ChecksToJson(trial)},
                     {"device_limited", device_limited},
                     {"failures", FailuresToJson(trial)}};
    if (timings.is_object()) finished["timings"] = timings;
    pool_.events.Write("test_finished", std::move(finished));
    for (const RecordedFailure& failure : trial.failures()) {
      ADD_FAILURE_AT(failure.file.c_str(), failure.line) << failure.check << ": " << failure.message;
    }
    if (ending.verdict == "harness_error" || ending.verdict == "diverged")
      ADD_FAILURE() << ending.verdict << ": " << ending.reason;
  }

  const Pool pool_;
  const TestCase& test_;
  PortBody body_;
  int index_;
};

class CaseTest : public testing::Test {
 public:
  explicit CaseTest(const Case& one) : case_(one) {}
  void TestBody() override { case_.Run(); }

 private:
  const Case case_;
};

std::map<std::string, PortBody> PortsByName(const std::vector<Suite>& suites) {
  std::map<std::string, PortBody> ports;
  for (const Suite& suite : suites) {
    for (const Port& port : suite.ports) {
      if (!ports.emplace(suite.name + "/" + port.function, port.body).second) {
        throw HarnessError(fmt::format("suite {}: two bodies for {}", suite.name, port.function));
      }
    }
  }
  return ports;
}

}  // namespace

void CheckPortsAgainstInventory(const std::vector<TestCase>& inventory, const std::vector<Suite>& suites) {
  std::set<std::string> wanted;
  for (const TestCase& test : inventory) wanted.insert(test.suite + "/" + test.function);
  const std::map<std::string, PortBody> ports = PortsByName(suites);
  for (const std::string& name : wanted) {
    if (!ports.contains(name)) throw HarnessError("inventory entry without a body: " + name);
  }
  for (const auto& [name, body] : ports) {
    if (!wanted.contains(name)) throw HarnessError("body without an inventory entry: " + name);
  }
}

void RunTests(const Plan& plan, const std::vector<std::string>& capabilities, HostedImplementation& implementation,
              Session& session, ControlPlane& control, EventLog& events) {
  const Pool pool{plan, capabilities, implementation, session, control, events};
  const std::map<std::string, PortBody> ports = PortsByName(AllPorts());
  std::vector<Case> cases;
  for (const std::string& id : plan.tests) {
    const auto test = std::ranges::find(AllTests(), id, &TestCase::id);
    if (test == AllTests().end()) throw InputError("plan: no test \"" + id + "\"");
    cases.emplace_back(pool, *test, ports.at(test->suite + "/" + test->function), static_cast<int>(cases.size()));
  }
  if (plan.rank_kind == RankKind::kThreads) {  // GoogleTest runs one test at a time in a process
    for (const Case& one : cases) one.Run();
    return;
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
