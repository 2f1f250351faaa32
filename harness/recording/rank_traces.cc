#include "recording/rank_traces.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <fstream>
#include <optional>

#include "contract/version_number.h"
#include "recording/json_text.h"
#include "recording/script_phases.h"
#include "run_files/input_error.h"
#include "run_files/run_folder.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxRanks = 4096;

// One rank's trace, a line ahead.
class RankTraceReader {
 public:
  explicit RankTraceReader(const fs::path& file) : file_(file), stream_(file, std::ios::binary) {
    if (!stream_.is_open()) return;
    if (!ReadLine()) return;
    header_ = std::exchange(line_, Json());
    if (!header_.contains("recording") || header_["recording"] != kRecordingFormat) {
      throw InputError(fmt::format("{}: not a recording of format {}: the ShardCTS that wrote it can read it",
                                   file_.string(), kRecordingFormat));
    }
    Advance();
  }

  const Json& header() const { return header_; }  // null: there is no trace, or not even its first line
  bool truncated() const { return truncated_; }
  bool has_line() const { return !line_.is_null(); }
  int64_t step() const { return step_; }
  Json& line() { return line_; }

  void Advance() {
    line_ = Json();
    if (!ReadLine()) return;
    const bool known = line_.contains("op") && line_["op"].is_string() && line_.contains("args") &&
                       line_.contains("outcome") && line_["outcome"].is_object() && line_.contains("step") &&
                       line_["step"].is_number_integer();
    if (!known) throw InputError(fmt::format("{}: line {}: not an operation", file_.string(), number_));
    step_ = line_["step"].get<int64_t>();
  }

 private:
  // False: at the end, or the line was cut off, as a crash does.
  bool ReadLine() {
    std::string text;
    if (!std::getline(stream_, text)) return false;
    ++number_;
    if (stream_.eof()) {
      truncated_ = true;
      return false;
    }
    line_ = ParseJsonText(text, fmt::format("{}: line {}", file_.string(), number_));
    if (!line_.is_object()) throw InputError(fmt::format("{}: line {}: not an object", file_.string(), number_));
    return true;
  }

  fs::path file_;
  std::ifstream stream_;
  int number_ = 0;
  Json header_;
  Json line_;
  int64_t step_ = 0;
  bool truncated_ = false;
};

using Readers = std::deque<RankTraceReader>;  // they stay where they are

// The ranks that are at the lowest step number and, of those, at the operation of the lowest rank.
std::vector<size_t> NextRanks(Readers& readers) {
  std::optional<int64_t> lowest;
  for (const RankTraceReader& reader : readers) {
    if (reader.has_line() && (!lowest || reader.step() < *lowest)) lowest = reader.step();
  }
  std::vector<size_t> ranks;
  for (size_t rank = 0; lowest && rank < readers.size(); ++rank) {
    if (!readers[rank].has_line() || readers[rank].step() != *lowest) continue;
    if (ranks.empty() || readers[rank].line()["op"] == readers[ranks.front()].line()["op"]) ranks.push_back(rank);
  }
  return ranks;
}

// A list with one entry for each rank of the world; null: this rank has no such step.
Json ByRank(Readers& readers, const std::vector<size_t>& ranks, const char* member) {
  Json list = Json::array();
  for (size_t rank = 0; rank < readers.size(); ++rank) list.push_back(nullptr);
  for (const size_t rank : ranks) {
    if (readers[rank].line().contains(member)) list[rank] = std::move(readers[rank].line()[member]);
  }
  return list;
}

// The step at which `ranks` are; takes it from their lines.
Json TakeStep(Readers& readers, const std::vector<size_t>& ranks) {
  Json& first = readers[ranks.front()].line();
  Json step = {{"step", first["step"]}, {"op", first["op"]}};
  const bool same_arguments =
      std::ranges::all_of(ranks, [&](size_t rank) { return readers[rank].line()["args"] == first["args"]; });
  if (same_arguments) {
    step["args"] = std::move(first["args"]);
  } else {
    step["args_by_rank"] = ByRank(readers, ranks, "args");
  }
  step["ranks"] = ranks.size() == readers.size() ? Json("all") : Json(ranks);
  if (first.contains("among")) step["among"] = first["among"];
  step["outcomes"] = ByRank(readers, ranks, "outcome");
  const bool silent = std::ranges::none_of(ranks, [&](size_t rank) { return readers[rank].line().contains("warnings"); });
  if (!silent) step["warnings_by_rank"] = ByRank(readers, ranks, "warnings");
  return step;
}

Readers OpenTraces(const fs::path& folder) {
  Readers readers;
  const auto file = [&](size_t rank) { return folder / fmt::format("rank-{}.jsonl", rank); };
  int ranks = 0;
  for (int rank = 0; rank < kMaxRanks && ranks == 0; ++rank) {
    if (!fs::exists(file(rank))) continue;
    const Json header = RankTraceReader(file(rank)).header();
    ranks = header.is_null() ? 0 : header.value("world_size", 0);
    if (!header.is_null() && (ranks < 1 || ranks > kMaxRanks)) {
      throw InputError(fmt::format("{}: world_size {}", file(rank).string(), ranks));
    }
  }
  if (ranks == 0) throw InputError(folder.string() + ": holds no recording (rank-R.jsonl)");
  for (int rank = 0; rank < ranks; ++rank) readers.emplace_back(file(rank));
  return readers;
}

Json HeaderOf(const Readers& readers) {
  const auto found = std::ranges::find_if(readers, [](const RankTraceReader& reader) { return !reader.header().is_null(); });
  Json script = {{"contract", SHARDCTS_CONTRACT_VERSION}, {"recording", kRecordingFormat}};
  for (const char* key : {"contract", "world_size", "seed", "implementation", "device", "test", "role"}) {
    if (found->header().contains(key)) script[key] = found->header()[key];
  }
  return script;
}

}  // namespace

namespace {

// Of one phase, or of a test without phases.
Json ReadTraces(const fs::path& folder) {
  try {
    Readers readers = OpenTraces(folder);
    Json script = HeaderOf(readers);
    Json& steps = script["steps"] = Json::array();
    for (std::vector<size_t> ranks = NextRanks(readers); !ranks.empty(); ranks = NextRanks(readers)) {
      steps.push_back(TakeStep(readers, ranks));
      for (size_t rank : ranks) readers[rank].Advance();
    }
    if (std::ranges::any_of(readers, &RankTraceReader::truncated)) script["truncated"] = true;
    return script;
  } catch (const Json::exception& error) {
    throw InputError(folder.string() + ": " + error.what());
  }
}

// One element of "phases".
Json AsPhase(Json script) {
  Json phase = {{"world", script.at("world_size")}};
  for (const char* key : {"role", "implementation", "device", "steps", "truncated"}) {
    if (script.contains(key)) phase[key] = std::move(script[key]);
  }
  return phase;
}

}  // namespace

Json ReadRankTraces(const fs::path& folder) {
  if (!fs::exists(PhaseTraces(folder, 0))) return ReadTraces(folder);
  Json script;
  for (size_t phase = 0; phase < kMaxScriptPhases && fs::exists(PhaseTraces(folder, phase)); ++phase) {
    Json traces = ReadTraces(PhaseTraces(folder, phase));
    if (phase == 0) {
      for (const char* key : {"contract", "recording", "seed", "implementation", "device", "test"}) {
        if (traces.contains(key)) script[key] = traces[key];
      }
      script["phases"] = Json::array();
    }
    script["phases"].push_back(AsPhase(std::move(traces)));
  }
  return script;
}

}  // namespace shardcts
