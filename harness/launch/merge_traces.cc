#include "launch/merge_traces.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "contract/version_number.h"
#include "launch/input_error.h"
#include "launch/run_folder.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

// One rank's trace, a line ahead.
class RankTraceReader {
 public:
  explicit RankTraceReader(const fs::path& file) : stream_(file, std::ios::binary), exists_(stream_.is_open()) {
    Advance();
  }

  bool exists() const { return exists_; }
  bool truncated() const { return truncated_; }
  const std::optional<Json>& line() const { return line_; }
  int64_t step() const { return step_; }

  void Advance() {
    line_.reset();
    std::string text;
    if (!stream_.is_open() || !std::getline(stream_, text)) return;
    Json json = stream_.eof() ? Json() : Json::parse(text, nullptr, false);
    const bool whole = json.is_object() && json.contains("op") && json.contains("args") && json.contains("outcome") &&
                       json.contains("step") && json["step"].is_number_integer();
    if (!whole) {
      truncated_ = true;
      stream_.close();
      return;
    }
    step_ = json["step"].get<int64_t>();
    line_ = std::move(json);
  }

 private:
  std::ifstream stream_;
  bool exists_;
  bool truncated_ = false;
  std::optional<Json> line_;
  int64_t step_ = 0;
};

using Readers = std::vector<RankTraceReader>;

// The step of `ranks`, all of which stand at the same number and operation. Per-rank lists have one element per rank of
// the world; null: this rank has no such step.
Json MergeStep(Readers& readers, const std::vector<size_t>& ranks) {
  const Json& first = *readers[ranks.front()].line();
  Json step = {{"step", first["step"]}, {"op", first["op"]}};
  const auto same = [&](const char* key) {
    return std::all_of(ranks.begin(), ranks.end(), [&](size_t rank) {
      return readers[rank].line()->value(key, Json()) == first.value(key, Json());
    });
  };
  const auto by_rank = [&](const char* key) {
    Json list = Json::array();
    for (size_t rank = 0; rank < readers.size(); ++rank) {
      const bool here = std::find(ranks.begin(), ranks.end(), rank) != ranks.end();
      list.push_back(here ? readers[rank].line()->value(key, Json()) : Json());
    }
    return list;
  };
  if (same("args")) {
    step["args"] = first["args"];
  } else {
    step["args_by_rank"] = by_rank("args");
  }
  if (ranks.size() == readers.size()) {
    step["ranks"] = "all";
  } else {
    step["ranks"] = ranks;
  }
  if (first.contains("among")) step["among"] = first["among"];
  step["outcomes"] = by_rank("outcome");
  const bool warned = std::any_of(ranks.begin(), ranks.end(), [&](size_t rank) {
    return !readers[rank].line()->value("warnings", Json::array()).empty();
  });
  if (warned) step["warnings_by_rank"] = by_rank("warnings");
  return step;
}

// The ranks that stand at the lowest step number and, among those, at the operation of the lowest rank.
std::vector<size_t> NextRanks(const Readers& readers) {
  std::optional<int64_t> lowest;
  for (const RankTraceReader& reader : readers) {
    if (reader.line() && (!lowest || reader.step() < *lowest)) lowest = reader.step();
  }
  std::vector<size_t> ranks;
  for (size_t rank = 0; lowest && rank < readers.size(); ++rank) {
    if (!readers[rank].line() || readers[rank].step() != *lowest) continue;
    if (ranks.empty() || (*readers[rank].line())["op"] == (*readers[ranks.front()].line())["op"]) ranks.push_back(rank);
  }
  return ranks;
}

void WriteScript(std::ostream& out, const TraceHeader& header, Readers& readers) {
  out << "{\"contract\": " << SHARDCTS_CONTRACT_VERSION << ", \"world_size\": " << header.world_size
      << ", \"seed\": " << header.seed << ", \"implementation\": " << Json(header.implementation).dump()
      << ", \"test\": " << Json(header.test).dump() << ",\n\"steps\": [";
  const char* separator = "\n";
  for (std::vector<size_t> ranks = NextRanks(readers); !ranks.empty(); ranks = NextRanks(readers)) {
    out << separator << MergeStep(readers, ranks).dump(-1, ' ', false, Json::error_handler_t::replace);
    separator = ",\n";
    for (size_t rank : ranks) readers[rank].Advance();
  }
  const bool truncated =
      std::any_of(readers.begin(), readers.end(), [](const auto& reader) { return reader.truncated(); });
  out << "\n]" << (truncated ? ", \"truncated\": true" : "") << "}\n";
}

}  // namespace

bool MergeTraces(const fs::path& trace_folder, const std::string& recording, const TraceHeader& header) {
  Readers readers;
  for (int rank = 0; rank < header.world_size; ++rank) readers.emplace_back(RankTrace(trace_folder, recording, rank));
  if (std::none_of(readers.begin(), readers.end(), [](const auto& reader) { return reader.exists(); })) return false;
  const fs::path file = MergedTrace(trace_folder, recording);
  const fs::path temporary = file.string() + ".tmp";
  std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
  WriteScript(out, header, readers);
  out.close();
  if (!out) throw InputError(temporary.string() + ": cannot be written");
  fs::rename(temporary, file);
  return true;
}

}  // namespace shardcts
