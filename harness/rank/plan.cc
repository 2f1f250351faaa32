#include "rank/plan.h"

#include <fmt/format.h>

#include "run_files/input_error.h"
#include "run_files/json_file.h"

namespace shardcts {
namespace {

TraceData ParseTrace(const std::string& text) {
  if (text == "digest") return TraceData::kDigest;
  if (text == "inline") return TraceData::kInline;
  if (text == "full") return TraceData::kFull;
  throw InputError(fmt::format("unknown trace mode \"{}\"", text));
}

RankKind ParseRankKind(const std::string& text) {
  if (const auto kind = RankKindNamed(text)) return *kind;
  throw InputError(fmt::format("unknown rank kind \"{}\"", text));
}

Plan FromJson(const Json& json) {
  const Json& implementation = json.at("implementation");
  Plan plan;
  plan.label = implementation.at("label");
  plan.source = implementation.at("source");
  plan.options = implementation.at("options").get<std::map<std::string, std::string>>();
  plan.device = implementation.at("device");
  if (implementation.contains("mutant") && !implementation.at("mutant").is_null())
    plan.mutant = implementation.at("mutant");
  plan.world_size = json.at("world_size");
  plan.rank_kind = ParseRankKind(json.value("rank_kind", "processes"));
  plan.host = json.value("host", "");
  plan.seed = json.at("seed");
  plan.trace = ParseTrace(json.at("trace"));
  plan.run_folder = json.at("run_folder");
  plan.pool_folder = json.at("pool_folder");
  plan.trace_folder = json.at("trace_folder");
  if (json.contains("tests")) plan.tests = json.at("tests").get<std::vector<std::string>>();
  plan.recordings = json.contains("recordings") ? json.at("recordings").get<std::vector<std::string>>() : plan.tests;
  if (plan.recordings.size() != plan.tests.size()) throw InputError("one recording for each test is needed");
  plan.script = json.value("script", "");
  return plan;
}

}  // namespace

Plan ReadPlan(const std::string& path) {
  const Json json = ReadJsonFile(path);
  try {
    return FromJson(json);
  } catch (const InputError& error) {
    throw InputError(path + ": " + error.what());
  } catch (const Json::exception& error) {
    throw InputError(path + ": " + error.what());
  }
}

}  // namespace shardcts
