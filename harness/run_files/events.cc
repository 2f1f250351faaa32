#include "run_files/events.h"

#include <stdexcept>
#include <utility>

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::pair<RankVerdict, const char*> kNames[] = {
    {RankVerdict::kPass, "pass"},
    {RankVerdict::kFail, "fail"},
    {RankVerdict::kNotSupported, "not_supported"},
    {RankVerdict::kNotApplicable, "not_applicable"},
    {RankVerdict::kDiverged, "diverged"},
    {RankVerdict::kHarnessError, "harness_error"},
    {RankVerdict::kAborted, "aborted"},
};

Failure FailureFromJson(int rank, const Json& json) {
  return {rank,
          json.value("check", ""),
          json.value("message", ""),
          json.value("file", ""),
          json.value("line", 0),
          json.value("operation", "")};
}

}  // namespace

std::string ToString(RankVerdict verdict) {
  for (const auto& [one, name] : kNames) {
    if (one == verdict) return name;
  }
  return "";
}

std::optional<RankVerdict> RankVerdictNamed(std::string_view name) {
  for (const auto& [verdict, its_name] : kNames) {
    if (its_name == name) return verdict;
  }
  return std::nullopt;
}

Json ToJson(const CheckCount& count) {
  return {{"evaluated", count.evaluated}, {"strict", count.strict}, {"failed", count.failed}};
}

Json ToJson(const Failure& failure) {
  return {{"rank", failure.rank}, {"check", failure.check}, {"message", failure.message},
          {"file", failure.file}, {"line", failure.line},   {"operation", failure.operation}};
}

Json ToJson(const std::vector<PhaseTiming>& timings) {
  Json phases = Json::object();
  for (const PhaseTiming& timing : timings) {
    phases[timing.phase] = {{"calls", timing.calls}, {"seconds", timing.seconds}};
  }
  return phases;
}

std::vector<PhaseTiming> TimingsFromJson(const Json& phases) {
  std::vector<PhaseTiming> timings;
  for (const auto& [phase, timing] : phases.items()) {
    timings.push_back({phase, timing.at("calls").get<int64_t>(), timing.at("seconds").get<double>()});
  }
  return timings;
}

Json ToJson(const RankReport& report) {
  Json json = {{"verdict", report.verdict ? Json(ToString(*report.verdict)) : Json()},
               {"reason", report.reason},
               {"seconds", report.seconds},
               {"operations", report.operations},
               {"checks", Json::object()},
               {"device_limited", Json(report.device_limited)},
               {"failures", Json::array()}};
  for (const auto& [id, count] : report.checks) json["checks"][id] = ToJson(count);
  for (const Failure& failure : report.failures) json["failures"].push_back(ToJson(failure));
  if (report.timings) json["timings"] = ToJson(*report.timings);
  return json;
}

RankReport RankReportFromJson(int rank, const Json& event) {
  RankReport report;
  report.started = true;
  const std::string verdict = event.at("verdict").get<std::string>();
  report.verdict = RankVerdictNamed(verdict);
  if (!report.verdict) throw std::runtime_error("unknown verdict '" + verdict + "'");
  report.reason = event.value("reason", "");
  report.seconds = event.value("seconds", 0.0);
  report.operations = event.value("operations", int64_t{0});
  const Json checks = event.value("checks", Json::object());
  for (const auto& [id, count] : checks.items()) {
    report.checks[id] = {count.value("evaluated", int64_t{0}), count.value("strict", int64_t{0}),
                         count.value("failed", int64_t{0})};
  }
  const Json device_limited = event.value("device_limited", Json::object());
  for (const auto& [id, reason] : device_limited.items()) report.device_limited[id] = reason.get<std::string>();
  const Json failures = event.value("failures", Json::array());
  for (const Json& failure : failures) report.failures.push_back(FailureFromJson(rank, failure));
  if (event.contains("timings")) report.timings = TimingsFromJson(event["timings"]);
  return report;
}

}  // namespace shardcts
