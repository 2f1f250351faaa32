#include "run_files/events.h"

#include <stdexcept>
#include <utility>

#include "run_files/event_fields.h"

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

constexpr size_t kMaxPhases = 100;

Failure FailureFromJson(int rank, const Json& json) {
  return {rank,
          TextField(json, "check", kMaxNameBytes),
          TextField(json, "message"),
          TextField(json, "file", kMaxNameBytes),
          static_cast<int>(CountOf(json.value("line", Json(0)))),
          TextField(json, "operation", kMaxNameBytes)};
}

std::string DeviceLimitReason(const Json& reason) {
  if (reason.get<std::string>().empty()) throw std::runtime_error("device_limited without a reason");
  return Bounded(reason.get<std::string>());
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
  return {{"rank", failure.rank}, {"check", failure.check}, {"message", Bounded(failure.message)},
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
  if (!phases.is_object() || phases.size() > kMaxPhases) {
    throw std::runtime_error("timings must be an object of at most " + std::to_string(kMaxPhases) + " phases");
  }
  std::vector<PhaseTiming> timings;
  for (const auto& [phase, timing] : phases.items()) {
    timings.push_back({BoundedKey(phase), CountOf(timing.at("calls")), SecondsOf(timing.at("seconds"))});
  }
  return timings;
}

Json ToJson(const RankReport& report) {
  Json json = {{"verdict", report.verdict ? Json(ToString(*report.verdict)) : Json()},
               {"reason", Bounded(report.reason)},
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
  if (!report.verdict) throw std::runtime_error("unknown verdict '" + Bounded(verdict, kMaxNameBytes) + "'");
  report.reason = TextField(event, "reason");
  report.seconds = SecondsOf(event.value("seconds", Json(0)));
  report.operations = CountOf(event.value("operations", Json(0)));
  const Json none = Json::object();
  const Json no_list = Json::array();
  for (const auto& [id, count] : EntriesOf(event, "checks", none).items()) {
    report.checks[BoundedKey(id)] = {CountOf(count.value("evaluated", Json(0))), CountOf(count.value("strict", Json(0))),
                                     CountOf(count.value("failed", Json(0)))};
  }
  for (const auto& [id, reason] : EntriesOf(event, "device_limited", none).items()) {
    report.device_limited[BoundedKey(id)] = DeviceLimitReason(reason);
  }
  for (const Json& failure : EntriesOf(event, "failures", no_list)) {
    report.failures.push_back(FailureFromJson(rank, failure));
  }
  if (event.contains("timings")) report.timings = TimingsFromJson(event["timings"]);
  return report;
}

}  // namespace shardcts
