#include "results/phase_results.h"

#include <algorithm>

#include "results/results.h"
#include "run_files/foreign_text.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

void AddMissing(std::vector<std::string>& missing, const std::vector<std::string>& more) {
  missing.insert(missing.end(), more.begin(), more.end());
}

}  // namespace

PhaseResult CombinePhase(const TestCase& test, size_t phase, std::vector<RankReport> ranks,
                         const std::optional<Incident>& incident, double seconds) {
  PhaseResult result;
  result.verdict = Combine(CaseOfPhase(test, phase), ranks, incident);
  std::ranges::replace(result.verdict.reason, '\n', ' ');
  result.ranks = std::move(ranks);
  result.incident = incident;
  result.seconds = seconds;
  return result;
}

bool DecidesTest(const TestCase& test, const std::vector<PhaseResult>& phases) {
  if (phases.empty()) return false;
  return phases.back().verdict.verdict != Verdict::kPass || phases.size() == test.phases.size();
}

void SetOutcome(TestResult& result, std::vector<PhaseResult> phases) {
  const PhaseResult& last = phases.back();
  const size_t index = phases.size() - 1;
  result.verdict = last.verdict.verdict;
  const std::string other = last.implementation == result.implementation ? "" : last.implementation;
  if (!last.verdict.reason.empty()) result.reason = WithPhase(result.test, index, last.verdict.reason, other);
  result.ranks = last.ranks;
  result.incident = last.incident;
  result.log = last.log;
  for (const PhaseResult& phase : phases) {
    result.seconds += phase.seconds;
    AddMissing(result.missing, phase.verdict.missing);
  }
  const bool ran = result.verdict != Verdict::kNotSupported && result.verdict != Verdict::kNotApplicable;
  for (size_t later = phases.size(); ran && later < result.test.phases.size(); ++later) {
    for (const InventoryCheck& check : CaseOfPhase(result.test, later).checks) {
      if (check.required) result.missing.push_back(check.id);
    }
  }
  result.phases = std::move(phases);
}

std::string WithPhase(const TestCase& test, size_t phase, const std::string& reason, const std::string& label) {
  if (test.phases.empty()) return reason;
  const std::string name = PhaseName(test, phase, label) + ": ";
  return reason.starts_with(name) ? reason : name + reason;
}

Json PhaseJson(const TestResult& result, size_t phase) {
  const TestPhase& planned = result.test.phases.at(phase);
  const bool ran = phase < result.phases.size();
  const PhaseResult none;
  const PhaseResult& said = ran ? result.phases[phase] : none;
  Json ranks = Json::array();
  for (size_t rank = 0; rank < said.ranks.size(); ++rank) ranks.push_back(RankJson(said.ranks, said.incident, rank));
  return {{"role", planned.role},
          {"world_size", planned.world_size},
          {"params", planned.params},
          {"implementation", ran ? Json(said.implementation) : Json()},
          {"verdict", ToString(said.verdict.verdict)},
          {"reason", ran ? Json(Bounded(said.verdict.reason)) : Json()},
          {"seconds", said.seconds},
          {"ranks", std::move(ranks)},
          {"log", ran && !said.log.empty() ? Json(said.log) : Json()}};
}

}  // namespace shardcts
