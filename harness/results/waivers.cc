#include "results/waivers.h"

#include <algorithm>
#include <set>

#include "inventory/selection.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

Json TextOrNull(const std::string& text) { return text.empty() ? Json() : Json(text); }

std::string Joined(const std::set<std::string>& texts) {
  std::string joined;
  for (const std::string& text : texts) joined += (joined.empty() ? "" : ", ") + text;
  return joined;
}

bool Names(const Waiver& waiver, const TestCase& test, const ImplementationSpec& spec) {
  return FitsWhole(waiver.test, test.id) && FitsWhole(waiver.implementation, spec.source) &&
         FitsWhole(waiver.device, spec.device);
}

std::string ThisIs(const std::string& version) { return version.empty() ? "none is known" : "this is " + version; }

// Why the waiver no longer holds; empty: it holds.
std::string WhyExpired(const Waiver& waiver, std::chrono::year_month_day today, const std::string& version) {
  if (waiver.expires && today > *waiver.expires) return "has expired on " + DateText(*waiver.expires);
  if (waiver.review_version.empty()) return "";
  const std::vector<int> numbers = VersionNumbers(version);
  if (!numbers.empty() && numbers < VersionNumbers(waiver.review_version)) return "";
  return "was to be looked at again in version " + waiver.review_version + ", " + ThisIs(version);
}

// The checks of the failure: those that failed, or for an incomplete test those that are missing.
std::set<std::string> ChecksOf(const TestResult& result) {
  if (result.verdict == Verdict::kIncomplete) return {result.missing.begin(), result.missing.end()};
  std::set<std::string> checks;
  for (const RankReport& rank : result.ranks) {
    for (const Failure& failure : rank.failures) checks.insert(failure.check);
    for (const auto& [id, count] : rank.checks) {
      if (count.failed > 0) checks.insert(id);
    }
  }
  return checks;
}

// What of the failure the waiver does not say; empty: it fails as the waiver says.
std::string WhyOther(const Waiver& waiver, const TestResult& result) {
  if (result.verdict != waiver.verdict) return "says " + ToString(waiver.verdict);
  if (!waiver.checks.empty()) {
    const std::set<std::string> named(waiver.checks.begin(), waiver.checks.end());
    const std::set<std::string> found = ChecksOf(result);
    const bool all_named = std::includes(named.begin(), named.end(), found.begin(), found.end());
    if (found.empty() || !all_named) return "names " + Joined(named);
  }
  if (result.reason.find(waiver.reason_contains) == std::string::npos) {
    return "says \"" + waiver.reason_contains + "\"";
  }
  return "";
}

std::string Until(const Waiver& waiver) {
  std::string text;
  if (waiver.expires) text += " until " + DateText(*waiver.expires);
  if (!waiver.review_version.empty()) text += " before version " + waiver.review_version;
  if (waiver.versions) text += " for versions " + waiver.versions->Text();
  return text;
}

}  // namespace

bool HoldTogether(const Waiver& a, const Waiver& b) {
  return !a.versions || !b.versions || a.versions->Overlaps(*b.versions);
}

std::vector<const Waiver*> FindWaivers(const std::vector<Waiver>& waivers, const TestCase& test,
                                       const ImplementationSpec& spec) {
  std::vector<const Waiver*> found;
  for (const Waiver& waiver : waivers) {
    if (!Names(waiver, test, spec)) continue;
    for (const Waiver* other : found) {
      if (!HoldTogether(waiver, *other)) continue;
      throw InputError(waiver.place + ": waives " + test.id + " on " + spec.label + " as " + other->place);
    }
    found.push_back(&waiver);
  }
  return found;
}

std::vector<const Waiver*> FindWaiversOfBase(const std::vector<Waiver>& waivers, const TestCase& test,
                                             const std::string& based_on, const std::string& device) {
  std::vector<const Waiver*> found;
  if (based_on.empty()) return found;
  for (const Waiver& waiver : waivers) {
    const bool names = FitsWhole(waiver.test, test.id) && FitsWhole(waiver.implementation, based_on) &&
                       FitsWhole(waiver.device, device);
    if (names) found.push_back(&waiver);
  }
  return found;
}

const Waiver* WaiverFor(const std::vector<const Waiver*>& found, const std::string& version) {
  if (found.empty()) return nullptr;
  const auto held = std::ranges::find_if(
      found, [&](const Waiver* waiver) { return !waiver->versions || waiver->versions->Contains(version); });
  return held == found.end() ? found.front() : *held;
}

std::chrono::year_month_day Today() { return std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now()); }

void ApplyWaiver(const Waiver& waiver, std::chrono::year_month_day today, const std::string& version,
                 TestResult& result) {
  const Verdict found = result.verdict;
  const std::string found_reason = result.reason;
  std::string problem;
  if (waiver.versions && !waiver.versions->Contains(version)) {
    problem = "is for " + waiver.versions->Text() + ", " + ThisIs(version);
    if (IsConformanceFailure(found)) result.reason += "; not waived: " + waiver.place + " " + problem;
  } else if (found == Verdict::kPass) {
    problem = "the test passed";
    result.verdict = Verdict::kUnexpectedPass;
    result.reason = "passed, but waiver " + waiver.place + " of " + waiver.owner + " says that it fails; remove it";
  } else if (IsConformanceFailure(found)) {
    problem = WhyExpired(waiver, today, version);
    if (problem.empty()) problem = WhyOther(waiver, result);
    if (problem.empty()) {
      result.verdict = Verdict::kWaived;
      result.reason = waiver.reason + " (waived by " + waiver.owner + Until(waiver) + ", " + waiver.place + "); " +
                      ToString(found) + ": " + found_reason;
    } else {
      result.reason += "; not waived: " + waiver.place + " " + problem;
    }
  }
  result.waiver = ToJson(waiver);
  result.waiver["found"] = ToString(found);
  result.waiver["found_reason"] = found_reason;
  result.waiver["problem"] = TextOrNull(problem);
}

std::string DateText(std::chrono::year_month_day date) {
  const auto padded = [](unsigned number) { return (number < 10 ? "-0" : "-") + std::to_string(number); };
  return std::to_string(static_cast<int>(date.year())) + padded(static_cast<unsigned>(date.month())) +
         padded(static_cast<unsigned>(date.day()));
}

std::string Describe(const Waiver& waiver) {
  return ToString(waiver.verdict) + " on " + waiver.implementation + " (" + waiver.device + "), waived by " +
         waiver.owner + Until(waiver) + ": " + waiver.reason + " [" + waiver.place + "]";
}

Json ToJson(const Waiver& waiver) {
  return {{"place", waiver.place},
          {"test", waiver.test},
          {"implementation", waiver.implementation},
          {"device", waiver.device},
          {"verdict", ToString(waiver.verdict)},
          {"checks", waiver.checks},
          {"reason_contains", TextOrNull(waiver.reason_contains)},
          {"owner", waiver.owner},
          {"reason", waiver.reason},
          {"evidence", waiver.evidence},
          {"expires", waiver.expires ? Json(DateText(*waiver.expires)) : Json()},
          {"review_version", TextOrNull(waiver.review_version)},
          {"versions", waiver.versions ? Json(waiver.versions->Text()) : Json()}};
}

}  // namespace shardcts
