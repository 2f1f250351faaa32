#include "results/verdict.h"

#include <algorithm>
#include <set>
#include <utility>

namespace shardcts {
namespace {

struct VerdictName {
  Verdict verdict;
  const char* name;
};
constexpr VerdictName kNames[] = {
    {Verdict::kPass, "pass"},
    {Verdict::kFail, "fail"},
    {Verdict::kAdvice, "advice"},
    {Verdict::kIncomplete, "incomplete"},
    {Verdict::kNotSupported, "not_supported"},
    {Verdict::kNotApplicable, "not_applicable"},
    {Verdict::kWaived, "waived"},
    {Verdict::kUnexpectedPass, "unexpected_pass"},
    {Verdict::kCrash, "crash"},
    {Verdict::kHang, "hang"},
    {Verdict::kDiverged, "diverged"},
    {Verdict::kHarnessError, "harness_error"},
    {Verdict::kNotRun, "not_run"},
};

// A rank that says `pass` and counts a failed check is not believed.
std::optional<RankVerdict> EffectiveVerdict(const RankReport& rank) {
  if (rank.verdict != RankVerdict::kPass) return rank.verdict;
  const bool failed = std::ranges::any_of(rank.checks, [](const auto& check) { return check.second.failed > 0; });
  return failed || !rank.failures.empty() ? RankVerdict::kFail : RankVerdict::kPass;
}

std::string ReasonOf(const RankReport& rank) {
  if (!rank.reason.empty() || rank.failures.empty()) return rank.reason;
  const Failure& first = rank.failures.front();
  return first.check.empty() ? first.message : first.check + ": " + first.message;
}

// The first rank that says so, and nullopt when none does.
std::optional<size_t> FirstRank(const std::vector<RankReport>& ranks, RankVerdict verdict) {
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    if (EffectiveVerdict(ranks[rank]) == verdict) return rank;
  }
  return std::nullopt;
}

std::string NamedReason(const std::vector<RankReport>& ranks, size_t rank) {
  return "rank " + std::to_string(rank) + ": " + ReasonOf(ranks[rank]);
}

std::string Listing(const std::vector<RankReport>& ranks) {
  std::string text;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const std::optional<RankVerdict> verdict = EffectiveVerdict(ranks[rank]);
    text += (rank == 0 ? "rank " : ", rank ") + std::to_string(rank) + ": " + (verdict ? ToString(*verdict) : "none");
  }
  return text;
}

bool MustEvaluate(const InventoryCheck& check, size_t rank) {
  switch (check.ranks) {
    case InventoryCheck::Ranks::kAll: return true;
    case InventoryCheck::Ranks::kRank0: return rank == 0;
    case InventoryCheck::Ranks::kOthers: return rank != 0;
    case InventoryCheck::Ranks::kListed: return std::ranges::count(check.listed_ranks, static_cast<int>(rank)) > 0;
  }
  return true;
}

CombinedVerdict AllPassed(std::vector<std::string> missing) {
  if (missing.empty()) return {Verdict::kPass, "", {}};
  std::string reason = "not evaluated on every rank:";
  for (const std::string& check : missing) reason += " " + check;
  return {Verdict::kIncomplete, reason, std::move(missing)};
}

CombinedVerdict CombineRanks(const std::vector<RankReport>& ranks, std::vector<std::string> missing) {
  std::set<RankVerdict> said;
  for (const RankReport& rank : ranks) {
    const std::optional<RankVerdict> verdict = EffectiveVerdict(rank);
    if (!verdict) return {Verdict::kHarnessError, "a rank gave no verdict: " + Listing(ranks), missing};
    said.insert(*verdict);
  }
  constexpr std::pair<RankVerdict, Verdict> kWorst[] = {{RankVerdict::kHarnessError, Verdict::kHarnessError},
                                                        {RankVerdict::kDiverged, Verdict::kDiverged},
                                                        {RankVerdict::kFail, Verdict::kFail}};
  for (const auto& [of_rank, verdict] : kWorst) {
    if (const auto rank = FirstRank(ranks, of_rank)) return {verdict, NamedReason(ranks, *rank), missing};
  }
  const bool aborted = said.erase(RankVerdict::kAborted) > 0;
  if (said.size() > 1) return {Verdict::kDiverged, "ranks disagree: " + Listing(ranks), missing};
  if (said.empty() || (aborted && said.contains(RankVerdict::kPass))) {
    return {Verdict::kHarnessError, "ranks stopped although none failed: " + Listing(ranks), missing};
  }
  if (said.contains(RankVerdict::kPass)) return AllPassed(std::move(missing));
  const RankVerdict common = *said.begin();
  const Verdict verdict =
      common == RankVerdict::kNotSupported ? Verdict::kNotSupported : Verdict::kNotApplicable;
  return {verdict, ReasonOf(ranks[*FirstRank(ranks, common)]), {}};
}

}  // namespace

const std::vector<Verdict>& AllVerdicts() {
  static const std::vector<Verdict> all = [] {
    std::vector<Verdict> verdicts;
    for (const VerdictName& entry : kNames) verdicts.push_back(entry.verdict);
    return verdicts;
  }();
  return all;
}

std::string ToString(Verdict verdict) {
  return std::find_if(std::begin(kNames), std::end(kNames), [&](const auto& e) { return e.verdict == verdict; })->name;
}

std::optional<Verdict> ParseVerdict(std::string_view text) {
  for (const VerdictName& entry : kNames) {
    if (entry.name == text) return entry.verdict;
  }
  return std::nullopt;
}

bool IsConformanceFailure(Verdict verdict) {
  return verdict == Verdict::kFail || verdict == Verdict::kIncomplete || verdict == Verdict::kUnexpectedPass ||
         verdict == Verdict::kCrash || verdict == Verdict::kHang || verdict == Verdict::kDiverged;
}

std::vector<std::string> MissingChecks(const TestCase& test, const std::vector<RankReport>& ranks) {
  std::vector<std::string> missing;
  for (const InventoryCheck& check : test.checks) {
    if (!check.required) continue;
    const bool limited = std::any_of(ranks.begin(), ranks.end(),
                                     [&](const RankReport& rank) { return rank.device_limited.contains(check.id); });
    if (limited) continue;
    for (size_t rank = 0; rank < ranks.size(); ++rank) {
      const auto count = ranks[rank].checks.find(check.id);
      const bool evaluated = count != ranks[rank].checks.end() && count->second.evaluated > 0;
      if (MustEvaluate(check, rank) && !evaluated) {
        missing.push_back(check.id);
        break;
      }
    }
  }
  return missing;
}

CombinedVerdict Combine(const TestCase& test, const std::vector<RankReport>& ranks,
                        const std::optional<Incident>& incident) {
  std::vector<std::string> missing = MissingChecks(test, ranks);
  if (const auto rank = FirstRank(ranks, RankVerdict::kHarnessError)) {
    return {Verdict::kHarnessError, NamedReason(ranks, *rank), missing};
  }
  if (incident) return {incident->verdict, incident->reason, missing};
  return CombineRanks(ranks, std::move(missing));
}

Verdict AsAdvice(const TestCase& test, Verdict verdict) {
  const bool should = test.rule && test.rule->level == Rule::Level::kShould;
  return should && (verdict == Verdict::kFail || verdict == Verdict::kDiverged) ? Verdict::kAdvice : verdict;
}

int ExitCode(const std::vector<Verdict>& verdicts, bool complete) {
  const auto any = [&](auto predicate) { return std::any_of(verdicts.begin(), verdicts.end(), predicate); };
  if (!complete) return 3;
  if (any(IsConformanceFailure)) return 1;
  if (any([](Verdict v) { return v == Verdict::kHarnessError || v == Verdict::kNotRun; })) return 3;
  return any([](Verdict v) { return v == Verdict::kPass; }) ? 0 : 3;
}

}  // namespace shardcts
