#include "parity/parity.h"

#include <fmt/format.h>

#include "parity/state_name_order.h"
#include "recording/device_types.h"
#include "recording/rank_traces.h"
#include "recording/script_phases.h"
#include "recording/tensors_in.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxDetails = 50;

const CompareOptions kOptions{.dtype_default_tolerance = true, .requires_grad = true};

int64_t CountTensors(const Json& value) {
  int64_t count = 0;
  if (IsInBlob(value)) return value.at("tensors").get<int64_t>();
  ForEachTensor(value, [&count](const Json&) { ++count; });
  return count;
}

bool SameBytes(const Json& expected, const Json& actual) {
  for (const char* key : {"digest", "data"}) {
    if (expected.contains(key) && actual.contains(key) && expected[key] == actual[key]) return true;
  }
  return false;
}

// Tensors with the same bytes need none to be compared: they become tensors on the meta device.
void SetAside(Json& expected, Json& actual) {
  std::vector<Json*> tensors;
  ForEachTensor(expected, [&](Json& tensor) { tensors.push_back(&tensor); });
  size_t next = 0;
  ForEachTensor(actual, [&](Json& tensor) {
    Json* const other = next < tensors.size() ? tensors[next++] : nullptr;
    if (!other || !SameBytes(*other, tensor)) return;
    for (Json* same : {other, &tensor}) {
      for (const char* key : {"digest", "data", "kept"}) same->erase(key);
      (*same)["device"] = "meta";
    }
  });
}

class Comparer {
 public:
  Comparer(const Recording& expected, const Recording& actual)
      : expected_(expected),
        actual_(actual),
        expected_device_(DeviceTypeOfScript(expected.script)),
        actual_device_(DeviceTypeOfScript(actual.script)) {}

  Parity Run() {
    const Json& expected = expected_.script.at("steps");
    const Json& actual = actual_.script.at("steps");
    for (size_t i = 0; i < std::max(expected.size(), actual.size()); ++i) {
      if (i >= expected.size() || i >= actual.size()) {
        Structural(0, fmt::format("{} operations expected, actual {}", expected.size(), actual.size()));
        break;
      }
      Take(expected[i]);
      if (!SameOperation(expected[i], actual[i])) break;  // what follows is not comparable
      CompareStep(expected[i], actual[i]);
    }
    return std::move(parity_);
  }

 private:
  void Take(const Json& step) {
    state_name_order_.Meet(step);
    step_ = step.at("step").get<int64_t>();
    operation_ = step.at("op").get<std::string>();
  }

  bool SameOperation(const Json& expected, const Json& actual) {
    if (expected.at("op") == actual.at("op") && expected.at("step") == actual.at("step") &&
        expected.at("ranks") == actual.at("ranks")) {
      return true;
    }
    Structural(0,
               fmt::format("operation {} of ranks {} expected, actual {} of ranks {}", operation_,
                           expected.at("ranks").dump(), actual.at("op").get<std::string>(), actual.at("ranks").dump()));
    return false;
  }

  void CompareStep(const Json& expected, const Json& actual) {
    const Json& expected_outcomes = expected.at("outcomes");
    const Json& actual_outcomes = actual.at("outcomes");
    const size_t ranks = std::max(expected_outcomes.size(), actual_outcomes.size());
    for (size_t rank = 0; rank < ranks; ++rank) {
      const Json expected_outcome = rank < expected_outcomes.size() ? expected_outcomes[rank] : Json();
      const Json actual_outcome = rank < actual_outcomes.size() ? actual_outcomes[rank] : Json();
      if (expected_outcome.is_null() && actual_outcome.is_null()) continue;  // a rank without this step
      ++parity_.operations;
      if (expected_outcome.is_null() || actual_outcome.is_null()) {
        const char* lacking = expected_outcome.is_null() ? "no outcome to compare with" : "there is no outcome";
        Structural(static_cast<int>(rank), lacking);
      } else {
        CompareOutcome(expected_outcome, actual_outcome, static_cast<int>(rank));
      }
    }
  }

  void CompareOutcome(const Json& expected, const Json& actual, int rank) {
    if (expected.contains("error") || actual.contains("error")) {
      const std::string kinds[] = {ErrorKind(expected), ErrorKind(actual)};
      if (kinds[0] != kinds[1]) Structural(rank, fmt::format("expected {}, actual {}", kinds[0], kinds[1]));
      return;
    }
    if (operation_ == "state.serialize") return;  // each implementation has a file format of its own
    CompareValues(expected.at("value"), actual.at("value"), rank);
  }

  // Digests first: what has the same is the same.
  void CompareValues(const Json& expected, const Json& actual, int rank) {
    if (expected == actual) return CountIdentical(CountTensors(expected));
    Json expected_value = Ordered(ExpandValue(expected, *expected_.blobs));
    ChangeDeviceType(expected_value, expected_device_, actual_device_);
    Json actual_value = Ordered(ExpandValue(actual, *actual_.blobs));
    SetAside(expected_value, actual_value);
    CompareBytes(expected_value, actual_value, rank);
  }

  Json Ordered(Json value) const {
    return state_name_order_.IsChance() ? StateNameOrder::WithNamesSorted(std::move(value)) : value;
  }

  void CountIdentical(int64_t tensors) {
    parity_.tensors += tensors;
    parity_.identical += tensors;
  }

  static Value DecodeWith(const Json& value, const BlobSource& blobs) {
    return Decode(value, {.resolve = {}, .bytes = [&blobs](const std::string& digest, size_t size) {
                            return blobs.Read(digest, size);
                          }});
  }

  static std::string ErrorKind(const Json& outcome) {
    return outcome.contains("error") ? outcome.at("error").at("kind").get<std::string>() : "no error";
  }

  void CompareBytes(const Json& expected, const Json& actual, int rank) {
    try {
      Count(Compare(DecodeWith(expected, *expected_.blobs), DecodeWith(actual, *actual_.blobs), kOptions), rank);
    } catch (const ContractViolation& not_recorded) {  // the bytes of a tensor whose digests differ
      parity_.tensors += CountTensors(expected);
      ForEachTensor(expected, [this](const Json& tensor) { parity_.identical += tensor.value("device", "") == "meta"; });
      Add(rank, {Difference::Kind::kValue, "", std::string("the digests differ; ") + not_recorded.what()});
    }
  }

  void Count(const Comparison& comparison, int rank) {
    parity_.tensors += comparison.tensors;
    parity_.identical += comparison.identical;
    parity_.close += comparison.close;
    for (const Difference& difference : comparison.differences) Add(rank, difference);
  }

  void Structural(int rank, std::string message) { Add(rank, {Difference::Kind::kStructural, "", std::move(message)}); }

  void Add(int rank, const Difference& difference) {
    parity_.different += difference.kind == Difference::Kind::kValue;
    parity_.structural += difference.kind == Difference::Kind::kStructural;
    const ParityDetail detail{0, step_, operation_, rank, difference};
    if (parity_.details.size() < kMaxDetails) {
      parity_.details.push_back(detail);
    } else if (difference.kind != Difference::Kind::kClose &&
               parity_.details.back().difference.kind == Difference::Kind::kClose) {
      parity_.details.back() = detail;  // a difference that counts is never crowded out by close ones
    }
  }

  const Recording& expected_;
  const Recording& actual_;
  const std::string expected_device_, actual_device_;
  Parity parity_;
  StateNameOrder state_name_order_;
  int64_t step_ = 0;
  std::string operation_;
};

void AddPhase(size_t phase, const Parity& of_phase, Parity& parity) {
  parity.AddCounts(of_phase);
  for (ParityDetail detail : of_phase.details) {
    if (parity.details.size() == kMaxDetails) return;
    detail.phase = phase;
    parity.details.push_back(std::move(detail));
  }
}

Parity ComparePhases(const Recording& expected, const Recording& actual) {
  const std::vector<Json> expected_phases = PhaseScripts(expected.script, "the expected recording");
  const std::vector<Json> actual_phases = PhaseScripts(actual.script, "the actual recording");
  Parity parity;
  for (size_t phase = 0; phase < std::min(expected_phases.size(), actual_phases.size()); ++phase) {
    if (expected_phases[phase].value("role", "") == "crash") continue;  // what its ranks did before they were killed
    const Recording parts[] = {{expected_phases[phase], expected.blobs}, {actual_phases[phase], actual.blobs}};
    AddPhase(phase + 1, Comparer(parts[0], parts[1]).Run(), parity);
  }
  if (expected_phases.size() != actual_phases.size()) {
    Parity lengths;
    lengths.structural = 1;
    const std::string message = fmt::format("{} phases expected, actual {}", expected_phases.size(), actual_phases.size());
    lengths.details.push_back({0, 0, "", 0, {Difference::Kind::kStructural, "", message}});
    AddPhase(std::min(expected_phases.size(), actual_phases.size()) + 1, lengths, parity);
  }
  return parity;
}

std::string KindName(Difference::Kind kind) {
  switch (kind) {
    case Difference::Kind::kStructural: return "structural";
    case Difference::Kind::kValue: return "different";
    case Difference::Kind::kClose: return "close";
  }
  return "?";
}

}  // namespace

void Parity::AddCounts(const Parity& other) {
  operations += other.operations;
  tensors += other.tensors;
  identical += other.identical;
  close += other.close;
  different += other.different;
  structural += other.structural;
}

std::string Parity::Counts() const {
  return fmt::format("{} operations, {} tensors: {} identical, {} close, {} differences of value, {} of structure",
                     operations, tensors, identical, close, different, structural);
}

std::string Parity::FirstDifference() const {
  const ParityDetail* first = nullptr;
  for (const ParityDetail& detail : details) {
    const bool close = detail.difference.kind == Difference::Kind::kClose;
    if (!first || (!close && first->difference.kind == Difference::Kind::kClose)) first = &detail;
    if (!close) break;
  }
  if (!first) return {};
  const std::string& path = first->difference.path;
  const std::string phase = first->phase > 0 ? fmt::format("phase {} ", first->phase) : "";
  return fmt::format("{}step {} {} rank {}{}: {}", phase, first->step, first->operation, first->rank,
                     path.empty() ? "" : " " + path, first->difference.message);
}

Parity CompareRecordings(const Recording& expected, const Recording& actual) {
  try {
    const bool phases = HasPhases(expected.script) || HasPhases(actual.script);
    return phases ? ComparePhases(expected, actual) : Comparer(expected, actual).Run();
  } catch (const Json::exception& error) {
    throw InputError(std::string("not recordings: ") + error.what());
  }
}

namespace {

Recording ReadOfThisFormat(const fs::path& path) {
  Recording recording = ReadRecording(path);
  const Json& script = recording.script;
  if (!script.is_object() || !script.contains("recording") || script["recording"] != kRecordingFormat) {
    throw InputError(fmt::format("{}: not a recording of format {}: the ShardCTS that wrote it can read it", path.string(),
                                 kRecordingFormat));
  }
  return recording;
}

}  // namespace

Json ToJson(const Parity& parity) {
  Json details = Json::array();
  for (const ParityDetail& detail : parity.details) {
    details.push_back({{"step", detail.step},
                       {"op", detail.operation},
                       {"rank", detail.rank},
                       {"path", detail.difference.path},
                       {"kind", KindName(detail.difference.kind)},
                       {"message", detail.difference.message}});
    if (detail.phase > 0) details.back()["phase"] = detail.phase;
  }
  return {{"operations", parity.operations},
          {"tensors", parity.tensors},
          {"identical", parity.identical},
          {"close", parity.close},
          {"different", parity.different},
          {"structural", parity.structural},
          {"first_difference", parity.details.empty() ? Json() : Json(parity.FirstDifference())},
          {"details", details}};
}

Parity CompareTraces(const fs::path& expected, const fs::path& actual) {
  const Recording expected_recording = ReadOfThisFormat(expected);
  const Recording actual_recording = ReadOfThisFormat(actual);
  try {
    return CompareRecordings(expected_recording, actual_recording);
  } catch (const InputError& error) {
    throw InputError(fmt::format("{} and {}: {}", expected.string(), actual.string(), error.what()));
  }
}

}  // namespace shardcts
