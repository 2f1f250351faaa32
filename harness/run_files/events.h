// What a rank reports about a test, and its form in the event file (docs/formats.md, "rank-R.events.jsonl"). *Local*,
// needs no LibTorch.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shardcts {

enum class RankVerdict {
  kPass,
  kFail,
  kNotSupported,
  kNotApplicable,
  kDiverged,
  kHarnessError,
  kAborted,  // it stopped because a peer had failed, which never decides anything
};

std::string ToString(RankVerdict verdict);  // "not_supported"
std::optional<RankVerdict> RankVerdictNamed(std::string_view name);

struct CheckCount {
  int64_t evaluated = 0;
  int64_t strict = 0;  // of them, evaluations of the strict form
  int64_t failed = 0;
};

struct Failure {
  int rank = 0;
  std::string check;  // empty: not inside a check
  std::string message;
  std::string file;
  int line = 0;
  std::string operation;  // the last one called before
};

// How often a rank was in a phase, and for how long.
struct PhaseTiming {
  std::string phase;
  int64_t calls = 0;
  double seconds = 0;
};

// What one rank says about one test.
struct RankReport {
  bool started = false;
  std::optional<RankVerdict> verdict;  // once it has finished the test
  std::string reason;
  double seconds = 0;
  int64_t operations = 0;
  std::map<std::string, CheckCount> checks;
  std::map<std::string, std::string> device_limited;  // check -> why it cannot be evaluated on this device
  std::vector<Failure> failures;
  std::optional<std::vector<PhaseTiming>> timings;  // where the implementation measures them

  bool finished() const { return verdict.has_value(); }
};

nlohmann::ordered_json ToJson(const CheckCount& count);
nlohmann::ordered_json ToJson(const Failure& failure);
nlohmann::ordered_json ToJson(const std::vector<PhaseTiming>& timings);

// Back; untrusted. Throws nlohmann's exceptions, and std::runtime_error saying what is wrong.
std::vector<PhaseTiming> TimingsFromJson(const nlohmann::ordered_json& phases);

// The fields of the event `test_finished`, but for those that say which test it is.
nlohmann::ordered_json ToJson(const RankReport& report);
// Back, as `rank` has written it; untrusted. Texts are cut to their limits (foreign_text.h). Throws nlohmann's
// exceptions, and std::runtime_error saying what is wrong.
RankReport RankReportFromJson(int rank, const nlohmann::ordered_json& event);

}  // namespace shardcts
