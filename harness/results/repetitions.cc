#include "results/repetitions.h"

#include <algorithm>
#include <numeric>

namespace shardcts {
namespace {

constexpr Verdict kWorstFirst[] = {Verdict::kCrash,         Verdict::kHang,       Verdict::kDiverged,
                                   Verdict::kFail,          Verdict::kIncomplete, Verdict::kUnexpectedPass,
                                   Verdict::kAdvice,
                                   Verdict::kHarnessError,  Verdict::kNotRun,     Verdict::kNotSupported,
                                   Verdict::kNotApplicable, Verdict::kWaived,     Verdict::kPass};

bool Worse(const Repetition& a, const Repetition& b) {
  const auto place = [](Verdict verdict) { return std::find(std::begin(kWorstFirst), std::end(kWorstFirst), verdict); };
  return place(a.verdict) < place(b.verdict);
}

// "2 pass, 1 fail of 3", in the order in which they came.
std::string Tally(const std::vector<Repetition>& repetitions) {
  std::vector<std::pair<Verdict, size_t>> tally;
  for (const Repetition& repetition : repetitions) {
    const auto same = [&](const auto& entry) { return entry.first == repetition.verdict; };
    const auto found = std::find_if(tally.begin(), tally.end(), same);
    if (found == tally.end()) {
      tally.emplace_back(repetition.verdict, 1);
    } else {
      ++found->second;
    }
  }
  std::string text;
  for (const auto& [verdict, count] : tally) {
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + ToString(verdict);
  }
  return text + " of " + std::to_string(repetitions.size());
}

bool Disagree(const std::vector<Repetition>& repetitions) {
  const Repetition* first = nullptr;
  for (const Repetition& repetition : repetitions) {
    if (repetition.verdict == Verdict::kHarnessError || repetition.verdict == Verdict::kNotRun) continue;
    if (first && first->verdict != repetition.verdict) return true;
    first = &repetition;
  }
  return false;
}

}  // namespace

std::string RecordingName(const std::string& test, size_t repetition) {
  return repetition == 0 ? test : test + "+repetition=" + std::to_string(repetition + 1);
}

void AddRepetition(size_t repetition, TestResult outcome, TestResult& result) {
  std::vector<Repetition> all = std::move(result.repetitions);
  all[repetition] = {outcome.verdict, outcome.reason, outcome.seconds, outcome.log, outcome.trace};
  const Repetition& newest = all[repetition];
  const bool worst_so_far = std::all_of(all.begin(), all.end(), [&](const Repetition& other) {
    return &other == &newest || other.verdict == Verdict::kNotRun || Worse(newest, other);
  });
  if (worst_so_far) result = std::move(outcome);
  const auto worst = std::min_element(all.begin(), all.end(), Worse);
  result.verdict = worst->verdict;
  result.reason = worst->reason;
  result.seconds = std::accumulate(all.begin(), all.end(), 0.0,
                                   [](double sum, const Repetition& each) { return sum + each.seconds; });
  result.flaky = Disagree(all);
  if (result.flaky) {
    if (!IsConformanceFailure(result.verdict)) result.verdict = Verdict::kFail;
    result.reason =
        "flaky: " + Tally(all) + "; repetition " + std::to_string(worst - all.begin() + 1) + ": " + worst->reason;
  }
  result.repetitions = std::move(all);
}

}  // namespace shardcts
