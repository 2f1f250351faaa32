#include "rank/script.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "contract/argument_check.h"
#include "contract/compare.h"
#include "contract/nearest_name.h"
#include "rank/session.h"
#include "recording/device_types.h"
#include "recording/rank_traces.h"
#include "recording/recording.h"
#include "recording/script_phases.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

constexpr int kMaxWorldSize = 4096;

// How the values of a script are read: references by `resolve`, bytes from its blobs.
DecodeOptions Decoding(const std::shared_ptr<const BlobSource>& blobs,
                       std::function<Value(const Json& reference)> resolve = {}) {
  return {.resolve = std::move(resolve),
          .bytes = [blobs](const std::string& digest, size_t size) { return blobs->Read(digest, size); }};
}

[[noreturn]] void Fail(const std::string& place, const std::string& message) {
  throw InputError(place + ": " + message);
}

// Reads one step; keeps the names and numbers that later steps may refer to.
class StepReader {
 public:
  // `script`: all but its steps.
  StepReader(const Script& script, const std::string& place)
      : place_(place), has_folder_(!script.role.empty()), world_size_(script.world_size), blobs_(*script.blobs), decode_(Decoding(script.blobs)) {}

  ScriptStep Read(const Json& json, size_t index) {
    ScriptStep step;
    step.place = fmt::format("{}steps[{}]", place_, index);
    if (!json.is_object()) Fail(step.place, "not an object");
    CheckKeys(json, step.place);
    step.operation = json.value("op", "");
    const OperationSpec* spec = FindOperation(step.operation);
    if (!spec) Fail(step.place, UnknownOperation(step.operation));
    step.number = json.value("step", static_cast<int64_t>(index));
    step.let = json.value("let", "");
    ReadArguments(json, *spec, step);
    ReadRanks(json, step);
    CheckRecorded(json, step.place);
    step.recorded = json.contains("outcomes");
    if (json.contains("expect")) step.expect = json.at("expect");
    CheckExpect(step);
    numbers_.insert(step.number);
    if (!step.let.empty()) names_.insert(step.let);
    return step;
  }

 private:
  static void CheckKeys(const Json& json, const std::string& place) {
    static const std::set<std::string> kKeys = {"step",  "let",    "op",       "args",     "args_by_rank",
                                                "ranks", "among",  "expect",       "outcomes",
                                                "warnings", "warnings_by_rank"};
    for (const auto& [key, value] : json.items()) {
      if (!kKeys.contains(key)) Fail(place, UnknownName("key", key, kKeys));
    }
  }

  void ReadArguments(const Json& json, const OperationSpec& spec, ScriptStep& step) {
    if (json.contains("args_by_rank")) {
      step.arguments = json.at("args_by_rank").get<std::vector<Json>>();
      if (static_cast<int>(step.arguments.size()) != world_size_)
        Fail(step.place, "args_by_rank needs one entry per rank");
    } else {
      step.arguments = {json.contains("args") ? json.at("args") : Json::object()};
    }
    for (Json& arguments : step.arguments) {
      arguments = ExpandValue(std::move(arguments), blobs_);
      if (arguments.is_null()) continue;  // a rank that has no such step
      if (!arguments.is_object()) Fail(step.place, "args is not an object");
      CheckReferences(arguments, step.place);
      CheckTypes(arguments, spec, step.place);
    }
  }

  // What refers to an earlier result has no type yet.
  void CheckTypes(const Json& arguments, const OperationSpec& spec, const std::string& place) const {
    const DecodeOptions decode{.resolve = [](const Json&) { return NotYetKnown(); }, .bytes = decode_.bytes};
    Dict values;
    for (const auto& [name, value] : arguments.items()) {
      try {
        values.Set(name, Decode(value, decode));
      } catch (const ContractViolation& error) {
        Fail(place, fmt::format("{}: argument \"{}\": {}", spec.name, name, error.what()));
      }
    }
    const std::optional<WrongArgument> wrong = CheckArguments(spec, values, Unknowns::kHaveAnyType);
    if (wrong) Fail(place, wrong->message);
  }

  void CheckReferences(const Json& json, const std::string& place) const {
    if (json.is_string()) {
      const std::string text = json.get<std::string>();
      if (text.starts_with("${")) {
        if (!has_folder_) Fail(place, "only a script with phases has a ${folder}");
        if (const std::string problem = ProblemOfFolderPath(text); !problem.empty()) Fail(place, problem);
      } else if (text.starts_with('$') && !text.starts_with("$$")) {
        const std::string name = text.substr(1, text.find('.') - 1);
        if (!names_.contains(name)) Fail(place, fmt::format("\"${}\" names no earlier step", name));
      }
    } else if (json.is_object() && json.contains("$ref")) {
      const Json& path = json.at("$ref");
      if (!path.is_array() || path.empty() || !path[0].is_number_integer() ||
          !numbers_.contains(path[0].get<int64_t>())) {
        Fail(place, "$ref " + path.dump() + " names no earlier step");
      }
    } else if (json.is_structured()) {
      for (const Json& item : json) CheckReferences(item, place);
    }
  }

  void ReadRanks(const Json& json, ScriptStep& step) const {
    if (!json.contains("ranks") || json.at("ranks") == "all") return;
    step.ranks = json.at("ranks").get<std::vector<int>>();
    if (step.ranks.empty()) Fail(step.place, "ranks is empty: nobody would do this step");
    for (int rank : step.ranks) {
      if (rank < 0 || rank >= world_size_) Fail(step.place, fmt::format("rank {} of {} ranks", rank, world_size_));
    }
    const OperationSpec* spec = FindOperation(step.operation);
    step.among = spec->collective && json.value("among", false);
    if (spec->collective && !step.among && static_cast<int>(step.ranks.size()) != world_size_) {
      Fail(step.place, fmt::format("{} is collective: all ranks must call it (or these \"among\" themselves)",
                                   step.operation));
    }
  }

  void CheckExpect(const ScriptStep& step) const {
    if (step.expect.is_null()) return;
    if (!step.expect.is_object() || step.expect.size() != 1 ||
        !(step.expect.contains("error") || step.expect.contains("value"))) {
      Fail(step.place, "expect needs \"error\" or \"value\"");
    }
    if (step.expect.contains("error") && !step.expect.at("error").is_string()) {
      Fail(step.place, "expect: the kind of an error is a text");
    }
    if (!step.expect.contains("value")) return;
    CheckReferences(step.expect.at("value"), step.place);
    DecodeOptions decode = decode_;
    decode.resolve = [](const Json&) { return Value(); };
    try {
      Decode(step.expect.at("value"), decode);
    } catch (const ContractViolation& error) {
      Fail(step.place, fmt::format("expect: {}", error.what()));
    }
  }

  // What a comparison reads of a recorded step.
  void CheckRecorded(const Json& json, const std::string& place) const {
    if (!json.contains("outcomes")) return;
    for (const char* key : {"step", "ranks"}) {
      if (!json.contains(key)) Fail(place, fmt::format("outcomes, but no \"{}\"", key));
    }
    const Json& outcomes = json.at("outcomes");
    if (!outcomes.is_array() || static_cast<int>(outcomes.size()) != world_size_) {
      Fail(place, "outcomes needs one entry per rank");
    }
    for (const Json& outcome : outcomes) {
      const bool failed = outcome.contains("error") && outcome.at("error").contains("kind");
      const bool known = outcome.is_null() || outcome.contains("value") || failed;
      if (!known) Fail(place, "an outcome has neither \"value\" nor \"error\" with its kind");
    }
  }

  std::string place_;  // "FILE: ", "FILE: phases[1]."
  bool has_folder_;
  int world_size_;
  const BlobSource& blobs_;
  DecodeOptions decode_;
  std::set<std::string> names_;
  std::set<int64_t> numbers_;
};

// `whole`: "FILE", or "FILE: phases[1]".
Script FromJson(const Json& json, const std::shared_ptr<const BlobSource>& blobs, const std::string& path,
                const std::string& whole) {
  if (!json.is_object()) Fail(whole, "not an object");
  if (json.value("truncated", false)) Fail(whole, "the recording is truncated: it cannot be replayed as a whole");
  const int contract = json.value("contract", 0);
  if (contract != SHARDCTS_CONTRACT_VERSION) {
    Fail(whole, fmt::format("contract {}, this program has {}", contract, SHARDCTS_CONTRACT_VERSION));
  }
  Script script;
  script.file = path;
  script.blobs = blobs;
  script.world_size = json.value("world_size", 1);
  if (script.world_size < 1 || script.world_size > kMaxWorldSize)
    Fail(whole, fmt::format("world_size {}", script.world_size));
  script.seed = json.value("seed", int64_t{1234});
  script.test = json.value("test", "");
  script.device = DeviceTypeOfScript(json);
  script.role = json.value("role", "");
  if (!json.contains("steps") || !json.at("steps").is_array()) Fail(whole, "\"steps\" is missing or no list");
  const Json& steps = json.at("steps");
  const auto recorded =
      std::count_if(steps.begin(), steps.end(), [](const Json& step) { return step.contains("outcomes"); });
  if (recorded > 0 && recorded != std::ssize(steps)) Fail(whole, "some steps have outcomes and some have none");
  if (recorded > 0 && json.value("recording", 1) != kRecordingFormat) {
    Fail(whole, fmt::format("not a recording of format {}: the ShardCTS that wrote it can read it", kRecordingFormat));
  }
  StepReader reader(script, whole + (script.role.empty() ? ": " : "."));
  for (size_t i = 0; i < json.at("steps").size(); ++i) script.steps.push_back(reader.Read(json.at("steps")[i], i));
  if (script.steps.empty()) Fail(whole, "no steps");
  return script;
}

// The results of the steps that this rank has run.
class Results {
 public:
  explicit Results(std::string folder) : folder_(std::move(folder)) {}

  void Set(const ScriptStep& step, const Value& value) {
    by_number_[step.number] = value;
    if (!step.let.empty()) by_name_[step.let] = value;
  }

  Value Resolve(const Json& reference) const {
    return reference.is_string() ? ResolveText(reference.get<std::string>().substr(1)) : ResolvePath(reference);
  }

 private:
  static const Value& Child(const Value& value, const Json& key) {
    if (value.type() == Value::Type::kList && key.is_number_integer()) {
      const size_t index = key.get<size_t>();
      if (index < value.AsList().size()) return value.AsList()[index];
      throw ContractViolation(fmt::format("no element {} in a list of {}", index, value.AsList().size()));
    }
    return value.AsDict().At(key.is_string() ? Key(key.get<std::string>()) : Key(key.get<int64_t>()));
  }

  Value ResolvePath(const Json& path) const {
    const auto found = by_number_.find(path.at(0).get<int64_t>());
    if (found == by_number_.end()) throw ContractViolation("step " + path.at(0).dump() + " has no result");
    const Value* value = &found->second;
    for (size_t i = 1; i < path.size(); ++i) value = &Child(*value, path[i]);
    return *value;
  }

  // "name.path": keys may hold dots themselves, so the longest key that is there is taken.
  Value ResolveText(const std::string& text) const {
    const std::string folder = std::string(kFolderName).substr(1);
    if (text.starts_with(folder)) return Value(folder_ + text.substr(folder.size()));
    const size_t dot = text.find('.');
    const auto found = by_name_.find(text.substr(0, dot));
    if (found == by_name_.end()) throw ContractViolation("$" + text.substr(0, dot) + " has no result");
    const Value* value = &found->second;
    std::string rest = dot == std::string::npos ? "" : text.substr(dot + 1);
    while (!rest.empty()) {
      size_t length = rest.size();
      const Value* child = FindChild(*value, rest);
      while (!child) {
        length = length == 0 ? std::string::npos : rest.rfind('.', length - 1);
        if (length == std::string::npos) throw ContractViolation(fmt::format("${}: no \"{}\"", text, rest));
        child = FindChild(*value, rest.substr(0, length));
      }
      value = child;
      rest = length >= rest.size() ? "" : rest.substr(length + 1);
    }
    return *value;
  }

  static const Value* FindChild(const Value& value, const std::string& key) {
    const bool number =
        !key.empty() && key.size() < 10 && std::ranges::all_of(key, [](char c) { return c >= '0' && c <= '9'; });
    if (const Dict* dict = value.TryAs<Dict>()) {
      const Value* found = dict->Find(key);
      return found || !number ? found : dict->Find(int64_t{std::stoll(key)});
    }
    const List* list = value.TryAs<List>();
    return list && number && std::stoull(key) < list->size() ? &(*list)[std::stoull(key)] : nullptr;
  }

  const std::string folder_;
  std::map<int64_t, Value> by_number_;
  std::map<std::string, Value> by_name_;
};

// What is wrong with the outcome, or nothing.
std::string CheckOutcome(const ScriptStep& step, const Outcome& outcome, const DecodeOptions& decode) {
  if (step.expect.is_null() && step.recorded) return "";
  if (step.expect.is_null()) return outcome.ok() ? "" : outcome.error().kind + ": " + outcome.error().message;
  if (step.expect.contains("error")) {
    const std::string kind = step.expect.at("error").get<std::string>();
    if (outcome.ok()) return "expected " + kind + ", actual " + ToString(outcome.value());
    return outcome.error().kind == kind
               ? ""
               : "expected " + kind + ", actual " + outcome.error().kind + ": " + outcome.error().message;
  }
  if (!outcome.ok()) return "expected a value, actual " + outcome.error().kind + ": " + outcome.error().message;
  return Compare(Decode(step.expect.at("value"), decode), outcome.value()).Explain();
}

}  // namespace

Script ReadScript(const std::string& path) { return ReadScript(ReadRecording(path), path); }

Script ReadScript(const Recording& recording, const std::string& path) {
  std::vector<Script> scripts = ReadScripts(recording, path);
  if (!scripts.front().role.empty()) Fail(path, "has phases");
  return std::move(scripts.front());
}

std::vector<Script> ReadScripts(const Recording& recording, const std::string& path) {
  try {
    std::vector<Script> scripts;
    for (const Json& phase : PhaseScripts(recording.script, path)) {
      const std::string in_phase = HasPhases(recording.script) ? fmt::format(": phases[{}]", scripts.size()) : "";
      if (phase.contains("role") && phase.at("role") == "crash") {
        Fail(path + in_phase, "ranks are killed in it: run the test itself");
      }
      scripts.push_back(FromJson(phase, recording.blobs, path, path + in_phase));
    }
    return scripts;
  } catch (const Json::exception& error) {
    Fail(path, error.what());
  } catch (const ContractViolation& error) {
    Fail(path, error.what());
  }
}

ScriptResult RunScript(const Script& script, Session& session, const std::string& folder) {
  ScriptResult result;
  Results results(folder);
  const DecodeOptions decode =
      Decoding(script.blobs, [&](const Json& reference) { return results.Resolve(reference); });
  const auto run = [&](const ScriptStep& step) {
    const Json& arguments = step.arguments[step.arguments.size() == 1 ? 0 : session.rank()];
    ++result.steps;
    std::string wrong;
    try {
      const Outcome outcome = session.Call(step.operation, OnTheirDevices(arguments, Decode(arguments, decode)).AsDict());
      if (outcome.ok()) results.Set(step, outcome.value());
      wrong = CheckOutcome(step, outcome, decode);
    } catch (const ContractViolation& error) {
      wrong = error.what();
    }
    if (!wrong.empty()) result.failures.push_back(fmt::format("{} {}: {}", step.place, step.operation, wrong));
  };
  for (const ScriptStep& step : script.steps) {
    if (step.among) {
      session.Among({step.ranks.begin(), step.ranks.end()}, [&] { run(step); });
    } else if (step.ranks.empty() || std::ranges::count(step.ranks, session.rank())) {
      run(step);
    }
  }
  return result;
}

}  // namespace shardcts
