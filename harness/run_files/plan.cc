#include "run_files/plan.h"

#include <algorithm>

#include "run_files/input_error.h"
#include "run_files/json_file.h"
#include "run_files/run_folder.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMaxWorldSize = 4096;
constexpr size_t kMaxPhases = 8;

Json PhasesToJson(const std::vector<std::optional<PlannedPhase>>& phases) {
  Json json = Json::array();
  for (const auto& phase : phases) {
    json.push_back(phase ? Json{{"phase", phase->index + 1}, {"role", phase->role}, {"folder", phase->folder.string()}} : Json());
  }
  return json;
}

std::vector<std::optional<PlannedPhase>> PhasesFromJson(const Json& json) {
  std::vector<std::optional<PlannedPhase>> phases;
  for (const Json& entry : json) {
    if (entry.is_null()) {
      phases.emplace_back();
    } else {
      phases.push_back(PlannedPhase{entry.at("phase").get<size_t>() - 1, entry.at("folder").get<std::string>(),
                                    entry.at("role").get<std::string>()});
    }
  }
  return phases;
}

Plan FromJson(const Json& json) {
  Plan plan;
  plan.implementation = ImplementationFromJson(json.at("implementation"));
  plan.world_size = json.at("world_size");
  plan.host = json.value("host", "");
  plan.launched = json.value("launched", false);
  plan.seed = json.at("seed");
  plan.trace = json.at("trace");
  plan.test_timeout_seconds = json.value("test_timeout_seconds", plan.test_timeout_seconds);
  plan.run_folder = json.at("run_folder").get<std::string>();
  plan.pool_folder = json.at("pool_folder").get<std::string>();
  plan.trace_folder = json.at("trace_folder").get<std::string>();
  plan.script = json.value("script", "");
  if (json.contains("tests")) plan.tests = json.at("tests").get<std::vector<std::string>>();
  if (!plan.script.empty() && plan.tests.empty()) plan.tests = {"script"};
  plan.recordings = json.contains("recordings") ? json.at("recordings").get<std::vector<std::string>>() : plan.tests;
  if (json.contains("phases")) plan.phases = PhasesFromJson(json.at("phases"));
  if (plan.phases.empty()) plan.phases.resize(plan.tests.size());
  plan.under_test = json.value("under_test", plan.implementation.label);
  return plan;
}

// What no controller writes.
std::string Problem(const Plan& plan) {
  if (plan.world_size < 1 || plan.world_size > kMaxWorldSize) {
    return "world_size: " + std::to_string(plan.world_size) + " is no number of ranks";
  }
  if (plan.trace != "digest" && plan.trace != "inline" && plan.trace != "full") {
    return "unknown trace mode \"" + plan.trace + "\"";
  }
  for (const auto& phase : plan.phases) {
    if (phase && phase->index >= kMaxPhases) return "phase: is not 1 to " + std::to_string(kMaxPhases);
    if (phase && !phase->folder.is_absolute()) return "folder: \"" + phase->folder.string() + "\" is not absolute";
  }
  if (plan.phases.size() != plan.tests.size()) return "phases: one entry for each test is needed";
  return plan.recordings.size() == plan.tests.size() ? "" : "one recording for each test is needed";
}

}  // namespace

Json ToJson(const ImplementationSpec& spec) {
  return {{"label", spec.label},
          {"source", spec.source},
          {"options", Json(spec.options)},
          {"device", spec.device},
          {"mutant", spec.mutant ? Json(*spec.mutant) : Json()}};
}

ImplementationSpec ImplementationFromJson(const Json& json) {
  ImplementationSpec spec;
  spec.label = json.at("label");
  spec.source = json.at("source");
  spec.options = json.at("options").get<std::map<std::string, std::string>>();
  spec.device = json.at("device");
  if (json.contains("mutant") && !json.at("mutant").is_null()) spec.mutant = json.at("mutant").get<std::string>();
  return spec;
}

std::filesystem::path PlanFile(const std::filesystem::path& pool_folder) { return pool_folder / "plan.json"; }

void WritePlan(const Plan& plan) {
  Json json = {{"implementation", ToJson(plan.implementation)},
               {"world_size", plan.world_size},
               {"host", plan.host},
               {"launched", plan.launched},
               {"seed", plan.seed},
               {"trace", plan.trace},
               {"test_timeout_seconds", plan.test_timeout_seconds},
               {"run_folder", plan.run_folder.string()},
               {"pool_folder", plan.pool_folder.string()},
               {"trace_folder", plan.trace_folder.string()}};
  if (!plan.under_test.empty() && plan.under_test != plan.implementation.label) json["under_test"] = plan.under_test;
  if (!plan.script.empty()) json["script"] = plan.script.string();
  if (plan.script.empty() || plan.tests != std::vector<std::string>{"script"}) {
    json["tests"] = plan.tests;
    if (!plan.recordings.empty()) json["recordings"] = plan.recordings;
  }
  const bool has_phases = std::ranges::any_of(plan.phases, [](const auto& phase) { return phase.has_value(); });
  if (has_phases) json["phases"] = PhasesToJson(plan.phases);
  std::error_code error;
  for (const std::filesystem::path& folder : {plan.pool_folder, plan.trace_folder}) {
    std::filesystem::create_directories(folder, error);
    if (error) throw InputError(folder.string() + ": cannot be made a folder: " + error.message());
  }
  WriteFileAtomically(PlanFile(plan.pool_folder), json.dump(1) + "\n");
}

Plan ReadPlan(const std::filesystem::path& file) {
  const Json json = ReadJsonFile(file);
  try {
    Plan plan = FromJson(json);
    if (const std::string problem = Problem(plan); !problem.empty()) throw InputError(file.string() + ": " + problem);
    return plan;
  } catch (const Json::exception& error) {
    throw InputError(file.string() + ": " + error.what());
  }
}

}  // namespace shardcts
