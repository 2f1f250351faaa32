#include "rank/recorder.h"

#include <cmath>
#include <filesystem>
#include <stdexcept>

#include "contract/tensor_bytes.h"
#include "contract/version_number.h"
#include "recording/rank_traces.h"
#include "recording/script_phases.h"
#include "recording/tensors_in.h"
#include "run_files/run_folder.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLargestInline = 64 * 1024;  // of a tensor that an outcome brings, with TraceData::kInline
constexpr size_t kLargestData = 24;           // bytes whose base64 is no longer than their digest
constexpr size_t kLargestValue = 1024;        // of a value's text in a line

// Rounded to microseconds.
double Rounded(double seconds) { return std::round(seconds * 1e6) / 1e6; }

}  // namespace

Recorder::Recorder(const fs::path& file, const fs::path& blob_folder, TraceData data, const Json& header,
                   std::string test_folder)
    : path_(file), blobs_(blob_folder), data_(data), test_folder_(std::move(test_folder)) {
  fs::create_directories(file.parent_path());
  file_.open(file, std::ios::trunc);
  WriteLine(header);
}

void Recorder::WriteLine(const Json& line) {
  file_ << line.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n' << std::flush;
  if (!file_) throw std::runtime_error(path_.string() + ": cannot be written");
}

// Arguments that are no earlier result are kept whatever their size, or the recording could not be replayed.
EncodeOptions Recorder::Options(bool arguments) {
  const bool any_size = arguments || data_ == TraceData::kFull;
  EncodeOptions options{.references = arguments};
  if (data_ == TraceData::kDigest) {
    options.largest_data = 0;
    return options;
  }
  options.largest_data = kLargestData;
  options.keep = [this, any_size](const std::string& digest, std::string_view bytes) {
    if (!any_size && bytes.size() > kLargestInline) return false;
    blobs_.Put(digest, bytes);
    return true;
  };
  return options;
}

// Many ranks and tests have the same large values: their texts are stored once, too.
Json Recorder::InBlobWhereLarge(Json value) {
  if (data_ == TraceData::kDigest || !value.is_structured()) return value;
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() <= kLargestValue) return value;
  const std::string digest = Digest(text);
  blobs_.Put(digest, text);
  int64_t tensors = 0;
  ForEachTensor(value, [&tensors](const Json&) { ++tensors; });
  return {{"$blob", digest}, {"tensors", tensors}};
}

void Recorder::Begin(int64_t step, std::string_view operation, const Dict& arguments, bool among) {
  line_ = {{"step", step}, {"op", operation}};
  if (among) line_["among"] = true;
  Json encoded = Encode(Value(arguments), Options(true));
  if (!test_folder_.empty()) NameFolderInArguments(encoded, test_folder_);
  line_["args"] = InBlobWhereLarge(std::move(encoded));
}

void Recorder::End(const Outcome& outcome, double seconds) {
  Json& given = line_["outcome"] = EncodeOutcome(outcome, Options(false));
  if (!test_folder_.empty()) NameFolderInOutcome(given, test_folder_);
  if (outcome.ok()) given["value"] = InBlobWhereLarge(std::move(given["value"]));
  for (const Warning& warning : outcome.warnings) {
    line_["warnings"].push_back({{"category", warning.category}, {"message", warning.message}});
  }
  line_["seconds"] = Rounded(seconds);
  WriteLine(line_);
}

std::unique_ptr<Recorder> MakeRecorder(const Plan& plan, size_t index, int64_t seed, int rank) {
  Json header = {{"recording", kRecordingFormat},
                 {"contract", SHARDCTS_CONTRACT_VERSION},
                 {"implementation", plan.implementation.label},
                 {"device", plan.implementation.device},
                 {"test", plan.tests[index]},
                 {"world_size", plan.world_size},
                 {"rank", rank},
                 {"seed", seed}};
  fs::path folder = TestTraces(plan.trace_folder, plan.recordings[index]);
  std::string test_folder;
  if (const std::optional<PlannedPhase>& phase = plan.phases[index]) {
    header["phase"] = phase->index + 1;
    header["role"] = phase->role;
    folder = PhaseTraces(folder, phase->index);
    test_folder = phase->folder.string();
  }
  return std::make_unique<Recorder>(RankTrace(folder, rank), BlobFolder(plan.run_folder), TraceDataNamed(plan.trace),
                                    header, test_folder);
}

}  // namespace shardcts
