#include "parity/parity.h"

#include <fmt/format.h>

#include "parity/state_name_order.h"
#include "run_files/input_error.h"
#include "run_files/json_file.h"

namespace shardcts {
namespace {

constexpr size_t kMaxDetails = 50;

const CompareOptions kOptions{.dtype_default_tolerance = true, .requires_grad = true};

class Comparer {
 public:
  Comparer(const Json& expected, const Json& actual) : expected_(expected), actual_(actual) {
    CollectTensorBytes(expected.at("steps"), &bytes_);
    CollectTensorBytes(actual.at("steps"), &bytes_);
  }

  Parity Run() {
    const Json& expected = expected_.at("steps");
    const Json& actual = actual_.at("steps");
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
    if (state_name_order_.IsChance()) {
      CompareValues(StateNameOrder::WithNamesSorted(expected.at("value")),
                    StateNameOrder::WithNamesSorted(actual.at("value")), rank);
    } else {
      CompareValues(expected.at("value"), actual.at("value"), rank);
    }
  }

  void CompareValues(const Json& expected, const Json& actual, int rank) {
    try {
      const DecodeOptions decode{.resolve = {}, .bytes = &bytes_};
      Count(Compare(Decode(expected, decode), Decode(actual, decode), kOptions), rank);
    } catch (const ContractViolation& without_bytes) {
      CompareDigests(expected, actual, without_bytes.what(), rank);
    }
  }

  static std::string ErrorKind(const Json& outcome) {
    return outcome.contains("error") ? outcome.at("error").at("kind").get<std::string>() : "no error";
  }

  // For tensors that were recorded as digests only.
  void CompareDigests(const Json& expected, const Json& actual, const std::string& reason, int rank) {
    const int64_t tensors = CountDigests(expected);
    parity_.tensors += tensors;
    if (WithoutData(expected) == WithoutData(actual)) {
      parity_.identical += tensors;
    } else {
      Add(rank, {Difference::Kind::kValue, "", "the digests differ; " + reason});
    }
  }

  static int64_t CountDigests(const Json& json) {
    int64_t count = json.is_object() && json.contains("digest");
    if (json.is_structured()) {
      for (const Json& item : json) count += CountDigests(item);
    }
    return count;
  }

  static Json WithoutData(Json json) {
    if (json.is_object()) json.erase("data");
    if (json.is_structured()) {
      for (Json& item : json) item = WithoutData(item);
    }
    return json;
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
    const ParityDetail detail{step_, operation_, rank, difference};
    if (parity_.details.size() < kMaxDetails) {
      parity_.details.push_back(detail);
    } else if (difference.kind != Difference::Kind::kClose &&
               parity_.details.back().difference.kind == Difference::Kind::kClose) {
      parity_.details.back() = detail;  // a difference that counts is never crowded out by close ones
    }
  }

  const Json& expected_;
  const Json& actual_;
  std::map<std::string, std::string> bytes_;
  Parity parity_;
  StateNameOrder state_name_order_;
  int64_t step_ = 0;
  std::string operation_;
};

std::string KindName(Difference::Kind kind) {
  switch (kind) {
    case Difference::Kind::kStructural: return "structural";
    case Difference::Kind::kValue: return "different";
    case Difference::Kind::kClose: return "close";
  }
  return "?";
}

}  // namespace

std::string Parity::FirstDifference() const {
  const ParityDetail* first = nullptr;
  for (const ParityDetail& detail : details) {
    const bool close = detail.difference.kind == Difference::Kind::kClose;
    if (!first || (!close && first->difference.kind == Difference::Kind::kClose)) first = &detail;
    if (!close) break;
  }
  if (!first) return {};
  const std::string& path = first->difference.path;
  return fmt::format("step {} {} rank {}{}: {}", first->step, first->operation, first->rank,
                     path.empty() ? "" : " " + path, first->difference.message);
}

Parity CompareRecordings(const Json& expected, const Json& actual) { return Comparer(expected, actual).Run(); }

Json ToJson(const Parity& parity) {
  Json details = Json::array();
  for (const ParityDetail& detail : parity.details) {
    details.push_back({{"step", detail.step},
                       {"op", detail.operation},
                       {"rank", detail.rank},
                       {"path", detail.difference.path},
                       {"kind", KindName(detail.difference.kind)},
                       {"message", detail.difference.message}});
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

Json CompareTraceFiles(const std::filesystem::path& expected, const std::filesystem::path& actual) {
  const Json expected_json = ReadJsonFile(expected);
  const Json actual_json = ReadJsonFile(actual);
  try {
    return ToJson(CompareRecordings(expected_json, actual_json));
  } catch (const Json::exception& error) {
    throw InputError(expected.string() + " and " + actual.string() + ": not recordings: " + error.what());
  } catch (const ContractViolation& error) {
    throw InputError(expected.string() + " and " + actual.string() + ": " + error.what());
  }
}

}  // namespace shardcts
