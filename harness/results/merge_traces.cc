#include "results/merge_traces.h"

#include <algorithm>
#include <charconv>
#include <deque>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "contract/version_number.h"
#include "run_files/input_error.h"
#include "run_files/json_members.h"
#include "run_files/run_folder.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

// One rank's trace, a line ahead. Lines are not parsed: most of them is tensor data.
class RankTraceReader {
 public:
  explicit RankTraceReader(const fs::path& file) : stream_(file, std::ios::binary), exists_(stream_.is_open()) {
    Advance();
  }
  RankTraceReader(const RankTraceReader&) = delete;
  RankTraceReader& operator=(const RankTraceReader&) = delete;

  bool exists() const { return exists_; }
  bool truncated() const { return truncated_; }
  bool has_line() const { return has_line_; }
  int64_t step() const { return step_; }

  // A member's value as it stands in the line; empty: the line has none of this name.
  std::string_view Get(std::string_view name) const {
    const auto found = std::ranges::find(members_, name, &JsonMembers::value_type::first);
    return found == members_.end() ? std::string_view() : found->second;
  }

  void Advance() {
    has_line_ = false;
    members_.clear();
    if (!stream_.is_open() || !std::getline(stream_, text_)) return;
    has_line_ = ReadMembers();
    if (has_line_) return;
    truncated_ = true;
    stream_.close();
  }

 private:
  // Whether the line is whole.
  bool ReadMembers() {
    if (stream_.eof()) return false;  // without its end
    if (std::optional<JsonMembers> members = SplitJsonObject(text_)) members_ = std::move(*members);
    for (const std::string_view needed : {"op", "args", "outcome", "step"}) {
      if (Get(needed).empty()) return false;
    }
    const std::string_view step = Get("step");
    const auto [end, problem] = std::from_chars(step.data(), step.data() + step.size(), step_);
    return problem == std::errc() && end == step.data() + step.size();
  }

  std::ifstream stream_;
  std::string text_;
  JsonMembers members_;  // of text_
  bool exists_;
  bool has_line_ = false;
  bool truncated_ = false;
  int64_t step_ = 0;
};

using Readers = std::deque<RankTraceReader>;  // they stay where they are

// Writes the step of `ranks`, all of which stand at the same number and operation. Per-rank lists have one element per
// rank of the world; null: this rank has no such step.
class StepWriter {
 public:
  StepWriter(std::ostream& out, const Readers& readers, const std::vector<size_t>& ranks)
      : out_(out), readers_(readers), ranks_(ranks), first_(readers[ranks.front()]) {}

  void Write() {
    out_ << "{\"step\":" << first_.Get("step") << ",\"op\":" << first_.Get("op");
    if (AllOf([this](const RankTraceReader& reader) { return reader.Get("args") == first_.Get("args"); })) {
      out_ << ",\"args\":" << first_.Get("args");
    } else {
      WriteByRank("args_by_rank", "args");
    }
    out_ << ",\"ranks\":" << (ranks_.size() == readers_.size() ? Json("all") : Json(ranks_));
    if (const std::string_view among = first_.Get("among"); !among.empty()) out_ << ",\"among\":" << among;
    WriteByRank("outcomes", "outcome");
    const auto is_silent = [](const RankTraceReader& reader) {
      return reader.Get("warnings").empty() || reader.Get("warnings") == "[]";
    };
    if (!AllOf(is_silent)) WriteByRank("warnings_by_rank", "warnings");
    out_ << '}';
  }

 private:
  bool AllOf(const std::function<bool(const RankTraceReader&)>& holds) const {
    return std::ranges::all_of(ranks_, [&](size_t rank) { return holds(readers_[rank]); });
  }

  void WriteByRank(std::string_view name, std::string_view member) {
    out_ << ",\"" << name << "\":[";
    for (size_t rank = 0; rank < readers_.size(); ++rank) {
      const bool here = std::ranges::find(ranks_, rank) != ranks_.end();
      const std::string_view value = here ? readers_[rank].Get(member) : std::string_view();
      out_ << (rank ? "," : "") << (value.empty() ? "null" : value);
    }
    out_ << ']';
  }

  std::ostream& out_;
  const Readers& readers_;
  const std::vector<size_t>& ranks_;
  const RankTraceReader& first_;
};

// The ranks that stand at the lowest step number and, among those, at the operation of the lowest rank.
std::vector<size_t> NextRanks(const Readers& readers) {
  std::optional<int64_t> lowest;
  for (const RankTraceReader& reader : readers) {
    if (reader.has_line() && (!lowest || reader.step() < *lowest)) lowest = reader.step();
  }
  std::vector<size_t> ranks;
  for (size_t rank = 0; lowest && rank < readers.size(); ++rank) {
    if (!readers[rank].has_line() || readers[rank].step() != *lowest) continue;
    if (ranks.empty() || readers[rank].Get("op") == readers[ranks.front()].Get("op")) ranks.push_back(rank);
  }
  return ranks;
}

void WriteScript(std::ostream& out, const TraceHeader& header, Readers& readers) {
  out << "{\"contract\": " << SHARDCTS_CONTRACT_VERSION << ", \"world_size\": " << header.world_size
      << ", \"seed\": " << header.seed << ", \"implementation\": " << Json(header.implementation).dump()
      << ", \"test\": " << Json(header.test).dump() << ",\n\"steps\": [";
  const char* separator = "\n";
  for (std::vector<size_t> ranks = NextRanks(readers); !ranks.empty(); ranks = NextRanks(readers)) {
    out << separator;
    StepWriter(out, readers, ranks).Write();
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
