#include "rank/trial.h"

#include <algorithm>

#include "contract/value_bytes.h"
#include "inventory/inventory.h"
#include "rank/session.h"

namespace shardcts {
namespace {

constexpr size_t kMaxFailures = 20;

}  // namespace

Trial::Trial(const TestCase& test, Session& session, const std::optional<PlannedPhase>& phase)
    : test_(test), phase_(phase), session_(session), subject_(session) {}

int Trial::rank() const { return session_.rank(); }
int Trial::world_size() const { return session_.world_size(); }
const std::string& Trial::device() const { return session_.device(); }

const PlannedPhase& Trial::Planned() const {
  if (!phase_) throw HarnessError(test_.id + ": has no phases");
  return *phase_;
}

const TestPhase& Trial::Phase() const { return test_.phases.at(Planned().index); }
const std::vector<TestPhase>& Trial::Phases() const { return test_.phases; }

const Json& Trial::Param(std::string_view name) const {
  if (phase_) {
    const auto of_phase = Phase().params.find(std::string(name));
    if (of_phase != Phase().params.end()) return *of_phase;
  }
  const auto found = test_.params.find(std::string(name));
  if (found == test_.params.end()) throw HarnessError(fmt::format("{}: no parameter \"{}\"", test_.id, name));
  return *found;
}

int64_t Trial::IntParam(std::string_view name) const {
  if (!Param(name).is_number_integer()) throw HarnessError(fmt::format("parameter \"{}\" is no int", name));
  return Param(name).get<int64_t>();
}

bool Trial::BoolParam(std::string_view name) const {
  if (!Param(name).is_boolean()) throw HarnessError(fmt::format("parameter \"{}\" is no bool", name));
  return Param(name).get<bool>();
}

std::string Trial::TextParam(std::string_view name) const {
  if (!Param(name).is_string()) throw HarnessError(fmt::format("parameter \"{}\" is no text", name));
  return Param(name).get<std::string>();
}

bool Trial::Check(std::string_view check, const Verification& verification, Location where) {
  return Evaluate(check, false, verification, where);
}

bool Trial::Strict(std::string_view check, const Verification& verification, Location where) {
  return Evaluate(check, true, verification, where);
}

bool Trial::Rule(const Verification& verification, Location where) {
  return Evaluate(RuleCheck(), true, verification, where);
}

bool Trial::RuleRaises(std::string_view kind, std::string_view message_part, const std::function<void()>& body,
                       Location where) {
  return EvaluateRaises(RuleCheck(), true, kind, message_part, body, where);
}

const std::string& Trial::RuleCheck() const {
  if (!test_.rule) throw HarnessError(test_.id + ": tests no rule");
  return test_.rule->id;
}

void Trial::NoError(std::string_view check, const std::function<void()>& body, Location where) {
  try {
    body();
  } catch (const OperationFailed& failure) {
    Evaluate(check, false, {false, failure.what()}, where);
    throw;
  }
  Evaluate(check, false, {}, where);
}

bool Trial::Raises(std::string_view check, std::string_view kind, std::string_view message_part,
                   const std::function<void()>& body, Location where) {
  return EvaluateRaises(check, false, kind, message_part, body, where);
}

bool Trial::EvaluateRaises(std::string_view check, bool strict, std::string_view kind, std::string_view message_part,
                           const std::function<void()>& body, const Location& where) {
  const std::string expected = fmt::format("expected {} with \"{}\"", kind, message_part);
  try {
    body();
  } catch (const OperationFailed& failure) {
    const bool right = failure.error().kind == kind && failure.error().message.find(message_part) != std::string::npos;
    return Evaluate(check, strict, Holds(right, expected, std::string("actual ") + failure.what()), where);
  }
  return Evaluate(check, strict, {false, expected + ", actual no error"}, where);
}

void Trial::DeviceLimited(std::string_view check, std::string reason) {
  device_limited_[std::string(check)] = std::move(reason);
}

std::vector<Value> Trial::AllGather(const Value& value) {
  std::vector<Value> values;
  for (const std::string& packed : session_.AllGather(PackValue(value))) values.push_back(UnpackValue(packed));
  return values;
}

Caller& Trial::caller() { return session_; }

std::string Trial::Folder(const std::string& name) const { return session_.FolderNamed(name); }

void Trial::Among(const std::vector<int64_t>& ranks, const std::function<void()>& body) { session_.Among(ranks, body); }

void Trial::FailUnexpectedly(std::string message, Location where) {
  if (!test_.rule) return Fail(std::move(message), where);
  Rule({false, std::move(message)}, where);
}

void Trial::Fail(std::string message, Location where) { AddFailure("", std::move(message), where); }

bool Trial::Evaluate(std::string_view check, bool strict, const Verification& verification, const Location& where) {
  const bool known = std::ranges::any_of(test_.checks, [&](const InventoryCheck& entry) { return entry.id == check; });
  if (!known) throw HarnessError(fmt::format("{}: check {} is not active for this case", test_.id, check));
  CheckCount& count = checks_[std::string(check)];
  ++count.evaluated;
  count.strict += strict;
  if (verification.ok) return true;
  ++count.failed;
  AddFailure(check, verification.message, where);
  return false;
}

void Trial::AddFailure(std::string_view check, std::string message, const Location& where) {
  ++failure_count_;
  if (failures_.size() >= kMaxFailures) return;
  std::string file = where.file_name();
  if (const size_t suites = file.rfind("suites/"); suites != std::string::npos) file = file.substr(suites);
  failures_.push_back({rank(), std::string(check), std::move(message), std::move(file), static_cast<int>(where.line()),
                       session_.last_operation()});
}

}  // namespace shardcts
