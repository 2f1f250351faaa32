// Trial: one test case on one rank, as its port sees it.
//
//   PORT(test_cached_state_dict) {
//     Model model = t.subject().Build("linear", {{"in", dim}, {"out", dim}});
//     ...
//     t.Check("C2", Equal("weight: storage", StoragePointer(parameter), StoragePointer(saved)));
//   }
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

#include "contract/facade.h"
#include "contract/json_codec.h"
#include "rank/verification.h"
#include "run_files/events.h"
#include "run_files/plan.h"

namespace shardcts {

struct TestCase;
struct TestPhase;
class Session;

class Trial {
 public:
  using Location = std::source_location;

  // `phase`: which of the test's phases; none: the test has none.
  Trial(const TestCase& test, Session& session, const std::optional<PlannedPhase>& phase = {});

  int rank() const;
  int world_size() const;
  const std::string& device() const;  // the device type under test
  Subject& subject() { return subject_; }
  Caller& caller();  // for the functions of the façade that need no object

  // The phase that runs: its index from 0, role ("save", "load") and world size. HarnessError in a test without phases.
  const TestPhase& Phase() const;
  // All of them: the layout of what an earlier phase has left follows from its world size and parameters.
  const std::vector<TestPhase>& Phases() const;

  // A parameter of the phase, or of the case; HarnessError when it is missing or has another type.
  int64_t IntParam(std::string_view name) const;
  bool BoolParam(std::string_view name) const;
  std::string TextParam(std::string_view name) const;

  // One evaluation of upstream's check. A failed one is recorded and the test goes on. Returns whether it held.
  // Names a check that is not active for this case: HarnessError.
  bool Check(std::string_view check, const Verification& verification, Location where = Location::current());
  // One evaluation of its strict form.
  bool Strict(std::string_view check, const Verification& verification, Location where = Location::current());
  // One evaluation of the only check of a rule's test, which is strict. HarnessError in a test of upstream.
  bool Rule(const Verification& verification, Location where = Location::current());
  // The operations inside must fail with an error of this kind, whose message contains the text.
  bool RuleRaises(std::string_view kind, std::string_view message_part, const std::function<void()>& body,
                  Location where = Location::current());
  // The operations inside must not fail: an evaluation of `check` that fails on OperationFailed, which also ends the
  // test.
  void NoError(std::string_view check, const std::function<void()>& body, Location where = Location::current());
  // The operations inside must fail with an error of this kind, whose message contains the text.
  bool Raises(std::string_view check, std::string_view kind, std::string_view message_part,
              const std::function<void()>& body, Location where = Location::current());
  // The check cannot be evaluated on this device.
  void DeviceLimited(std::string_view check, std::string reason);

  // *Collective*. The values of all ranks, by rank, copied: tensors and what is made of them, no handles. It
  // replaces upstream's object collectives; the implementation is not involved.
  std::vector<Value> AllGather(const Value& value);
  Value FromRank0(const Value& value) { return AllGather(rank() == 0 ? value : Value()).front(); }

  // *Local*. The absolute path of the folder of this name, as operations get it, below the test's own; empty: the test's
  // own folder, which is there. It is the same on all ranks and in all phases, empty at the begin of the test, and removed
  // at its end. What a phase tells a later one is in it.
  std::string Folder(const std::string& name = {}) const;

  // *Collective*. Runs `body` on the given ranks only; they call the collective operations in it, as a subgroup.
  void Among(const std::vector<int64_t>& ranks, const std::function<void()>& body);

  // An operation failed that the test does not expect to: of a rule's test an evaluation of its check.
  void FailUnexpectedly(std::string message, Location where = Location::current());
  // A failure outside any check: the port cannot go on.
  void Fail(std::string message, Location where = Location::current());

  const std::map<std::string, CheckCount>& checks() const { return checks_; }
  const std::map<std::string, std::string>& device_limited() const { return device_limited_; }
  const std::vector<Failure>& failures() const { return failures_; }  // the first 20
  bool failed() const { return failure_count_ > 0; }

 private:
  const std::string& RuleCheck() const;
  bool EvaluateRaises(std::string_view check, bool strict, std::string_view kind, std::string_view message_part,
                      const std::function<void()>& body, const Location& where);
  bool Evaluate(std::string_view check, bool strict, const Verification& verification, const Location& where);
  void AddFailure(std::string_view check, std::string message, const Location& where);
  const Json& Param(std::string_view name) const;

  const PlannedPhase& Planned() const;

  const TestCase& test_;
  const std::optional<PlannedPhase> phase_;
  Session& session_;
  Subject subject_;
  std::map<std::string, CheckCount> checks_;
  std::map<std::string, std::string> device_limited_;
  std::vector<Failure> failures_;
  int64_t failure_count_ = 0;
};

}  // namespace shardcts
