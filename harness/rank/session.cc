#include "rank/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "contract/argument_check.h"
#include "contract/unsupported_option.h"
#include "rank/result_check.h"

namespace shardcts {
namespace {

// Of those that an implementation may refuse, the arguments: "wrapper, options".
std::string OptionsOf(const OperationSpec& operation) {
  std::string names;
  for (const FieldSpec& field : operation.arguments) {
    if (!field.required || !field.values.empty()) names += (names.empty() ? "" : ", ") + field.name;
  }
  return names.empty() ? "none" : names;
}

}  // namespace

Session::Session(Implementation& implementation, ControlPlane& control, int rank, int world_size, std::string device,
                 std::vector<std::string> capabilities)
    : implementation_(implementation),
      control_(control),
      rank_(rank),
      world_size_(world_size),
      device_(std::move(device)),
      capabilities_(std::move(capabilities)) {}

void Session::StartTest(std::unique_ptr<Recorder> recorder, int64_t seed, std::filesystem::path folder) {
  folder_ = std::move(folder);
  next_step_ = 0;
  operations_ = 0;
  last_operation_.clear();
  recorder_ = std::move(recorder);
  const Outcome outcome = implementation_.Invoke("implementation.seed", {{"seed", seed}});
  if (!outcome.ok()) throw OperationFailed("implementation.seed", outcome.error());
}

std::optional<std::string> Session::EndTest() {
  recorder_.reset();
  const Outcome outcome = implementation_.Invoke("implementation.reset", {});
  if (outcome.ok()) return std::nullopt;
  return OperationFailed("implementation.reset", outcome.error()).what();
}

std::string Session::FolderNamed(const std::string& name) const {
  if (folder_.empty()) throw HarnessError("a folder is named where the test has none: " + name);
  const std::filesystem::path path = name;
  const bool leaves = path.is_absolute() || path != path.lexically_normal() || *path.begin() == "..";
  if (!name.empty() && (leaves || name.find('\0') != name.npos)) {
    throw HarnessError(fmt::format("\"{}\" is not the name of a folder below the test's own", name));
  }
  std::filesystem::create_directories(folder_);
  return name.empty() ? folder_.string() : (folder_ / path).string();
}

std::optional<std::string> Session::WrongRefusal(const OperationSpec& operation, const Dict& arguments,
                                                 const Error& error) const {
  const auto option = FindUnsupportedOption(operation, arguments, error.message);
  if (!option) {
    return fmt::format("NotSupported must name an option of {} first ({}), or a field of one; it says: {}", operation.name,
                       OptionsOf(operation), error.message);
  }
  if (!std::ranges::count(capabilities_, option->capability)) return std::nullopt;
  return fmt::format("capability {} is declared, but {}: {}", option->capability, error.kind, error.message);
}

// The arguments with absolute folders.
Dict Session::WithFolders(const OperationSpec& operation, const Dict& arguments) const {
  Dict resolved = arguments;
  for (const FieldSpec& field : operation.arguments) {
    Value* name = field.type == kFolder ? resolved.Find(field.name) : nullptr;
    if (name) *name = FolderNamed(name->AsString());
  }
  return resolved;
}

Outcome Session::Call(std::string_view operation, Dict arguments) {
  const OperationSpec* spec = FindOperation(operation);
  if (!spec) throw HarnessError(UnknownOperation(operation));
  if (const auto wrong = CheckArguments(*spec, arguments)) {
    // A value that the implementation has given is its fault, anything else ours.
    const Value* value = arguments.Find(wrong->name);
    if (!value || !value->origin()) throw HarnessError(wrong->message);
    return Error{"ContractViolation", wrong->message};
  }

  const Dict resolved = WithFolders(*spec, arguments);
  int64_t step = next_step_;
  if (spec->collective) {
    step = control_.BeforeCollective(spec->name, step);
  } else {
    control_.TellOperation(spec->name, step);
  }
  next_step_ = step + 1;
  ++operations_;
  last_operation_ = operation;

  if (recorder_) recorder_->Begin(step, operation, arguments, spec->collective && control_.among());
  const auto start = std::chrono::steady_clock::now();
  Outcome outcome = implementation_.Invoke(operation, resolved);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (outcome.ok()) {
    if (const std::optional<std::string> unreadable = FindUnreadable(outcome.value())) {
      outcome = Error{"ContractViolation", "the result cannot be taken: " + *unreadable};
    } else if (!ResultHasType(*spec, outcome.value())) {
      const std::string given = ToString(outcome.value());
      outcome = Error{"ContractViolation", fmt::format("the result must be {}, it is {}", spec->result_type, given)};
    }
  }
  if (!outcome.ok() && outcome.error().kind.empty()) {
    outcome = Error{"ContractViolation", "the error has no kind; its text is \"" + outcome.error().message + '"'};
  }
  const bool refused = !outcome.ok() && outcome.error().kind == kNotSupported;
  const std::optional<std::string> wrong_refusal =
      refused ? WrongRefusal(*spec, arguments, outcome.error()) : std::nullopt;
  if (wrong_refusal) outcome = Error{"ContractViolation", *wrong_refusal};
  if (recorder_) recorder_->End(outcome, seconds);
  if (!outcome.ok()) {
    control_.TellError(spec->name, step, outcome.error().kind + ": " + outcome.error().message);
  }
  if (!outcome.ok() && control_.stopped_by().empty()) control_.StopOfAPeer();  // the implementation may know it first
  if (!outcome.ok() && !control_.stopped_by().empty()) {
    throw PeerStopped(fmt::format("rank {} was in {}, but {}", rank_, operation, control_.stopped_by()));
  }
  if (refused && !wrong_refusal) {
    throw OptionNotSupported(fmt::format("{}: an option is not supported: {}", operation, outcome.error().message));
  }
  if (outcome.ok()) SetOrigin(outcome.value(), step);
  return outcome;
}

}  // namespace shardcts
