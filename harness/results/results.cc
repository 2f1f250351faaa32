#include "results/results.h"

#include <algorithm>
#include <map>
#include <set>

#include "run_files/foreign_text.h"
#include "run_files/run_folder.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kLongestText = 500'000;  // the schema's is 1,000,000 characters

Json Text(const std::string& text) { return Bounded(text, kLongestText); }

Json TextOrNull(const std::string& text) { return text.empty() ? Json() : Text(text); }

Json Texts(const std::vector<std::string>& texts) {
  Json json = Json::array();
  for (const std::string& text : texts) json.push_back(Text(text));
  return json;
}

// Every rank, of every phase.
template <class Visit>
void ForEachReport(const TestResult& result, const Visit& visit) {
  const auto each = [&](const std::vector<RankReport>& ranks) {
    for (size_t rank = 0; rank < ranks.size(); ++rank) visit(rank, ranks[rank]);
  };
  for (const PhaseResult& phase : result.phases) each(phase.ranks);
  if (result.phases.empty()) each(result.ranks);
}

Json ChecksJson(const TestResult& result) {
  Json checks = {{"expected", Json::array()},
                 {"evaluated", Json::object()},
                 {"missing", result.missing},
                 {"device_limited", Json::object()}};
  for (const InventoryCheck& check : result.test.checks) {
    if (check.required) checks["expected"].push_back(check.id);
  }
  std::map<std::string, CheckCount> totals;
  std::map<std::string, std::set<size_t>> ranks;
  ForEachReport(result, [&](size_t rank, const RankReport& report) {
    for (const auto& [id, count] : report.checks) {
      totals[id].evaluated += count.evaluated;
      totals[id].strict += count.strict;
      totals[id].failed += count.failed;
      if (count.evaluated > 0) ranks[id].insert(rank);
    }
    for (const auto& [id, reason] : report.device_limited) checks["device_limited"][id] = reason;
  });
  for (const auto& [id, count] : totals) {
    if (count.evaluated == 0) continue;
    Json& evaluated = checks["evaluated"][id] = ToJson(count);
    evaluated["ranks"] = ranks[id];
  }
  return checks;
}

Json FailuresJson(const TestResult& result) {
  Json failures = Json::array();
  ForEachReport(result, [&](size_t, const RankReport& report) {
    for (const Failure& failure : report.failures) failures.push_back(ToJson(failure));
  });
  return failures;
}

Json RanksJson(const TestResult& result) {
  Json ranks = Json::array();
  for (size_t rank = 0; rank < result.ranks.size(); ++rank) {
    ranks.push_back(RankJson(result.ranks, result.incident, rank));
  }
  return ranks;
}

Json PhasesJson(const TestResult& result) {
  Json phases = Json::array();
  for (size_t phase = 0; phase < result.test.phases.size(); ++phase) phases.push_back(PhaseJson(result, phase));
  return phases;
}

Json RepetitionsJson(const TestResult& result) {
  Json repetitions = Json::array();
  for (const Repetition& repetition : result.repetitions) {
    repetitions.push_back({{"verdict", ToString(repetition.verdict)},
                           {"reason", repetition.reason},
                           {"seconds", repetition.seconds},
                           {"log", TextOrNull(repetition.log)},
                           {"trace", TextOrNull(repetition.trace)}});
  }
  return repetitions;
}

Json ImplementationJson(const ImplementationResult& implementation) {
  const Json& said = implementation.description;
  const auto from = [&](const char* key, Json otherwise) {
    return said.is_object() ? said.value(key, otherwise) : otherwise;
  };
  Json json = {{"label", implementation.label},
               {"name", from("name", implementation.source)},
               {"version", from("version", "")},
               {"based_on", from("based_on", "")},
               {"source", implementation.source},
               {"device", implementation.device},
               {"options", implementation.options},
               {"mutant", implementation.mutant ? Json(*implementation.mutant) : Json()},
               {"capabilities", from("capabilities", Json::array())},
               {"patches", from("patches", Json::array())},
               {"notes", from("notes", Json::object())},
               {"warm", implementation.warm}};
  if (implementation.loads_only) json["loads_only"] = true;
  return json;
}

Json SummaryJson(const Results& results) {
  Json summary = Json::object();
  for (const ImplementationResult& implementation : results.implementations) {
    Json& counts = summary[implementation.label];
    for (Verdict verdict : AllVerdicts()) counts[ToString(verdict)] = 0;
  }
  for (const TestResult& test : results.tests) {
    Json& count = summary[test.implementation][ToString(test.verdict)];
    count = count.get<int>() + 1;
  }
  return summary;
}

Json RulesJson(const std::vector<Rule>& rules) {
  Json json = Json::array();
  for (const Rule& rule : rules) {
    json.push_back({{"id", rule.id},
                    {"level", ToString(rule.level)},
                    {"area", rule.area},
                    {"sentence", rule.sentence},
                    {"source", rule.source},
                    {"bites_with", rule.bites_with}});
    if (!rule.profile.empty()) json.back()["profile"] = rule.profile;
  }
  return json;
}

}  // namespace

Json RankJson(const std::vector<RankReport>& ranks, const std::optional<Incident>& incident, size_t rank) {
  const RankReport& report = ranks[rank];
  std::string verdict = "aborted", reason = "did not finish";
  if (report.verdict) {
    verdict = ToString(*report.verdict), reason = report.reason;
  } else if (incident && (incident->rank < 0 || incident->rank == static_cast<int>(rank))) {
    verdict = ToString(incident->verdict), reason = incident->reason;
  }
  Json json = {{"rank", rank}, {"verdict", verdict}, {"seconds", report.seconds}, {"reason", reason}};
  if (report.timings) json["timings"] = ToJson(*report.timings);
  return json;
}

void SetOutcome(TestResult& result, std::vector<RankReport> ranks, const std::optional<Incident>& incident,
                double seconds) {
  CombinedVerdict combined = Combine(result.test, ranks, incident);
  result.verdict = combined.verdict;
  result.reason = std::move(combined.reason);
  result.missing = std::move(combined.missing);
  result.ranks = std::move(ranks);
  result.incident = incident;
  result.seconds = seconds;
  std::replace(result.reason.begin(), result.reason.end(), '\n', ' ');
}

void RequireCapabilities(const std::vector<std::string>& required, TestResult& result) {
  if (result.verdict != Verdict::kNotSupported) return;
  // That which is missing, where it is required itself.
  std::vector<std::string> needs = result.test.capabilities;
  std::ranges::stable_partition(needs, [&](const std::string& needed) {
    return result.reason.find("capability " + needed + " ") != result.reason.npos;
  });
  for (const std::string& needed : needs) {
    if (std::find(required.begin(), required.end(), needed) == required.end()) continue;
    result.verdict = Verdict::kFail;
    result.reason += "; the run requires capability " + needed;
    return;
  }
}

Json ToJson(const TestResult& result) {
  return {{"id", result.test.id},
          {"suite", result.test.suite},
          {"upstream_id", result.test.upstream_id},
          {"upstream_function", result.test.function},
          {"level", result.test.rule ? Json(ToString(result.test.rule->level)) : Json()},
          {"implementation", result.implementation},
          {"world_size", result.test.world_size},
          {"params", result.test.params},
          {"capabilities", result.test.capabilities},
          {"verdict", ToString(result.verdict)},
          {"reason", Text(result.reason)},
          {"seconds", result.seconds},
          {"checks", ChecksJson(result)},
          {"failures", FailuresJson(result)},
          {"parity", result.parity},
          {"waiver", result.waiver},
          {"flaky", result.flaky},
          {"repetitions", RepetitionsJson(result)},
          {"phases", PhasesJson(result)},
          {"ranks", RanksJson(result)},
          {"log", TextOrNull(result.log)},
          {"trace", TextOrNull(result.trace)},
          {"folder", TextOrNull(result.folder)},
          {"reproduce", Text(result.reproduce)}};
}

Json ToJson(const Results& results) {
  Json json = {{"schema_version", 1},
               {"complete", results.complete},
               {"run",
                {{"command", Text(results.command)},
                 {"seed", results.seed},
                 {"suite_commit", results.suite_commit},
                 {"started", results.started},
                 {"seconds", results.seconds},
                 {"pool", results.pool},
                 {"start", results.start},
                 {"jobs", results.jobs},
                 {"repeat", results.repeat},
                 {"require", results.required_capabilities},
                 {"require_should", results.require_should},
                 {"waivers", results.waiver_files},
                 {"load_with", TextOrNull(results.load_with)},
                 {"storage_root", TextOrNull(results.storage_root)},
                 {"environment", results.environment}}},
               {"implementations", Json::array()},
               {"summary", SummaryJson(results)},
               {"suites", Json::array()},
               {"pools", Json::array()},
               {"tests", Json::array()}};
  for (const ImplementationResult& implementation : results.implementations) {
    json["implementations"].push_back(ImplementationJson(implementation));
  }
  for (const SuiteSize& suite : results.suites) {
    json["suites"].push_back({{"name", suite.name},
                              {"functions", suite.functions},
                              {"instances", suite.instances},
                              {"ids", suite.ids},
                              {"checks", suite.checks},
                              {"unreached", suite.unreached},
                              {"rules", RulesJson(suite.rules)}});
  }
  for (const PoolResult& pool : results.pools) {
    json["pools"].push_back({{"implementation", pool.implementation},
                             {"world_size", pool.world_size},
                             {"starts", pool.starts},
                             {"start_seconds", pool.start_seconds},
                             {"warm_starts", pool.warm_starts},
                             {"problems", Texts(pool.problems)}});
  }
  for (const TestResult& test : results.tests) json["tests"].push_back(ToJson(test));
  return json;
}

void WriteResults(const Results& results, const std::filesystem::path& run_folder) {
  const std::string text = ToJson(results).dump(1, ' ', false, Json::error_handler_t::replace);
  WriteFileAtomically(run_folder / "results.json", text + "\n");
}

}  // namespace shardcts
