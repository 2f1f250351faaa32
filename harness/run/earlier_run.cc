#include "run/earlier_run.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "results/repetitions.h"
#include "results/waiver_file.h"
#include "run/run.h"
#include "run_files/foreign_text.h"
#include "run_files/input_error.h"
#include "run_files/json_file.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMostRepetitions = 1000;
constexpr size_t kMostImplementations = 64;
constexpr size_t kLongestCommand = 500'000;

// What two runs must have in common to be the same one.
Json IdentityOf(const Json& results) {
  Json identity = Json::object();
  for (const char* key : {"seed", "pool", "repeat", "require", "require_should", "waivers"}) identity[key] = results.at("run").at(key);
  identity["load_with"] = results.at("run").value("load_with", Json());
  identity["storage_root"] = results.at("run").value("storage_root", Json());
  Json& implementations = identity["implementations"] = Json::array();
  for (const Json& one : results.at("implementations")) {
    implementations.push_back(
        {one.at("label"), one.at("source"), one.at("device"), one.at("options"), one.at("mutant")});
  }
  Json& tests = identity["tests"] = Json::array();
  for (const Json& test : results.at("tests")) tests.push_back({test.at("implementation"), test.at("id")});
  return identity;
}

std::string Shown(const Json& json) {
  return Bounded(json.dump(-1, ' ', false, Json::error_handler_t::replace), 200);
}

std::string Text(const Json& json, const char* key, size_t max_bytes = kMaxNameBytes) {
  std::string text = json.at(key).get<std::string>();
  if (text.empty() || text.size() > max_bytes) {
    throw InputError(std::string(key) + " must have 1 to " + std::to_string(max_bytes) + " bytes");
  }
  return text;
}

// As results.json writes it: 2026-01-31T12:00:00.250Z; runs of an earlier version have no milliseconds.
bool IsTime(const std::string& text) {
  return std::ranges::any_of(std::array<std::string_view, 2>{"0000-00-00T00:00:00.000Z", "0000-00-00T00:00:00Z"},
                             [&](std::string_view form) {
                               return std::ranges::equal(text, form, [](char c, char of_form) {
                                 return of_form == '0' ? c >= '0' && c <= '9' : c == of_form;
                               });
                             });
}

// "[json.exception.out_of_range.403] key 'x' not found" -> "key 'x' not found"
std::string WithoutItsNumber(const Json::exception& error) {
  const std::string_view text = error.what();
  const size_t place = text.find("] ");
  return std::string(place == text.npos ? text : text.substr(place + 2));
}

std::vector<std::string> Texts(const Json& json) { return json.get<std::vector<std::string>>(); }

}  // namespace

EarlierRun::EarlierRun(const std::filesystem::path& run_folder) : file_(run_folder / "results.json") {
  const Json results = ReadJsonFile(file_);
  if (!results.is_object() || !results.contains("run")) throw InputError(file_.string() + ": holds no run");
  try {
    if (results.at("schema_version") != 1) {
      throw InputError("schema_version " + Shown(results["schema_version"]) + ", this program has 1");
    }
    Read(results);
  } catch (const InputError& error) {
    throw InputError(file_.string() + ": " + error.what());
  } catch (const Json::exception& error) {
    throw InputError(file_.string() + ": is no run of this program: " + WithoutItsNumber(error));
  }
}

void EarlierRun::Read(const Json& results) {
  identity_ = IdentityOf(results);
  command_ = Text(results.at("run"), "command", kLongestCommand);
  started_ = Text(results.at("run"), "started");
  seconds_ = results.at("run").at("seconds").get<double>();
  if (!IsTime(started_)) throw InputError("run.started is no time: " + Shown(started_));
  if (!(seconds_ >= 0) || !std::isfinite(seconds_)) throw InputError("run.seconds is no duration");
  const Json& implementations = results.at("implementations");
  if (implementations.empty() || implementations.size() > kMostImplementations) {
    throw InputError("implementations: must be 1 to " + std::to_string(kMostImplementations));
  }
  for (const Json& one : implementations) {
    ImplementationSpec spec;
    spec.label = Text(one, "label");
    spec.source = Text(one, "source", kMaxMessageBytes);
    spec.options = one.at("options").get<std::map<std::string, std::string>>();
    spec.device = Text(one, "device");
    if (!one.at("mutant").is_null()) spec.mutant = Text(one, "mutant");
    if (std::ranges::count(implementations_, spec.label, &ImplementationSpec::label) > 0) {
      throw InputError("implementations: label " + Shown(spec.label) + " stands twice");
    }
    if (one.contains("warm")) warm_[spec.label] = one["warm"];
    if (identity_["load_with"] == spec.label) load_with_ = spec;
    if (!one.value("loads_only", false)) implementations_.push_back(std::move(spec));
  }
  for (const Json& test : results.at("tests")) ReadTest(test);
  for (const auto& [label, tests] : tests_) {
    if (std::ranges::count(implementations_, label, &ImplementationSpec::label) == 0) {
      throw InputError("tests: unknown implementation " + Shown(label));
    }
  }
}

void EarlierRun::ReadTest(const Json& test) {
  const std::string label = test.at("implementation").get<std::string>();
  const std::string id = test.at("id").get<std::string>();
  tests_[label].push_back(id);
  const Json& repetitions = test.at("repetitions");
  const Json phases = test.value("phases", Json::array());
  if (repetitions.empty() && phases.empty()) Note(label, id, test, test.at("waiver"));
  for (const Json& phase : phases) {
    if (repetitions.empty()) Note(label, id, phase, Json());
  }
  for (size_t i = 0; i < repetitions.size(); ++i) Note(label, RecordingName(id, i), repetitions[i], Json());
}

void EarlierRun::Note(const std::string& label, const std::string& recording, const Json& outcome,
                      const Json& waiver) {
  if (outcome.at("log").is_null()) return;
  const Json& verdict = waiver.is_null() ? outcome.at("verdict") : waiver.at("found");
  const Json& reason = waiver.is_null() ? outcome.at("reason") : waiver.at("found_reason");
  const std::optional<Verdict> parsed = ParseVerdict(verdict.get<std::string>());
  if (!parsed) throw InputError("unknown verdict " + Shown(verdict));
  if (*parsed != Verdict::kCrash && *parsed != Verdict::kHang && *parsed != Verdict::kHarnessError) return;
  const std::string text = reason.is_null() ? "" : Bounded(reason.get<std::string>());
  seen_[{label, recording}] = {{*parsed, -1, text}, outcome.at("log").get<std::string>()};
}

void EarlierRun::FillIn(RunOptions& options) const try {
  options.command = command_;
  options.implementations = implementations_;
  options.load_with = load_with_;
  std::set<std::pair<std::string, std::string>> chosen;
  std::set<std::string> ids;
  for (const auto& [label, tests] : tests_) {
    for (const std::string& id : tests) chosen.emplace(label, id), ids.insert(id);
  }
  for (const TestCase& test : AllTests()) {
    if (ids.erase(test.id) > 0) options.tests.push_back(test);
  }
  if (!ids.empty()) throw InputError(file_.string() + ": this program has no test \"" + Bounded(*ids.begin(), 200) + "\"");
  options.wanted = [chosen](const ImplementationSpec& spec, const TestCase& test) {
    return chosen.contains({spec.label, test.id});
  };
  options.seed = identity_.at("seed").get<uint64_t>();
  options.pool_mode = identity_.at("pool") == "fresh" ? PoolMode::kFresh : PoolMode::kShared;
  options.repeat = std::clamp(identity_.at("repeat").get<int>(), 1, kMostRepetitions);
  options.required_capabilities = Texts(identity_.at("require"));
  options.require_should = identity_.at("require_should").get<bool>();
  options.waiver_files = Texts(identity_.at("waivers"));
  if (identity_.at("storage_root").is_string()) options.storage_root = identity_.at("storage_root").get<std::string>();
  options.waivers = LoadWaivers({options.waiver_files.begin(), options.waiver_files.end()});
  options.known_differences = LoadKnownDifferences();
} catch (const Json::exception& error) {
  throw InputError(file_.string() + ": " + error.what());
}

void EarlierRun::RequireSame(const Json& results) const {
  const Json now = IdentityOf(results);
  for (const auto& [key, value] : now.items()) {
    const Json& then = identity_.at(key);
    if (then == value) continue;
    const std::string problem = key == "tests" ? std::to_string(then.size()) + " tests, this command selects " +
                                                     (then.size() == value.size() ? "others" : std::to_string(value.size()))
                                               : key + " " + Shown(then) + ", this command says " + Shown(value);
    throw InputError(file_.string() + ": is of another run: " + problem + "; it was: " + Bounded(command_, 500));
  }
}

Json EarlierRun::WarmOf(const std::string& label) const {
  const auto found = warm_.find(label);
  const bool right = found != warm_.end() && found->second.is_object() && found->second.size() == 1;
  if (!right) return nullptr;
  const Json& said = found->second;
  if (said.contains("problem") && said["problem"].is_string()) return {{"problem", Bounded(said["problem"])}};
  if (said.contains("seconds") && said["seconds"].is_number() && said["seconds"] >= 0) return said;
  return nullptr;
}

std::optional<Incident> EarlierRun::IncidentOf(const std::string& label, const std::string& recording,
                                               const std::string& pool_folder) const {
  const auto found = seen_.find({label, recording});
  if (found == seen_.end() || found->second.pool_folder != pool_folder) return std::nullopt;
  return found->second.incident;
}

}  // namespace shardcts
