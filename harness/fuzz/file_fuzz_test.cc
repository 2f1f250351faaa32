// Every file that the program reads, changed at random: a reader takes it or says in one line what is wrong. 2,000 cases;
// SHARDCTS_FUZZ_SEED and SHARDCTS_FUZZ_CASES choose others. The case at hand is kept in a file, for crashes.
// results.json and the files of pools: system_tests/file_fuzz_test.py.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>

#include "contract/json_codec.h"
#include "fuzz/mutate_text.h"
#include "inventory/inventory.h"
#include "parity/parity.h"
#include "pool/pool_record.h"
#include "recording/rank_traces.h"
#include "recording/recording.h"
#include "rank/script.h"
#include "results/waiver_file.h"
#include "run_files/file_text.h"
#include "run_files/input_error.h"
#include "run_files/plan.h"
#include "testing/temporary_folder.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLongestError = 100'000;
constexpr std::chrono::seconds kLongestCase{5};

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// Reads the file; throws InputError that begins with its name, or ProtocolError.
using Reader = std::function<void(const fs::path& file)>;

std::vector<std::string> FilesIn(const fs::path& folder, const std::string& extension) {
  std::vector<std::string> texts;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.path().extension() == extension) texts.push_back(FileText(entry.path()));
  }
  return texts;
}

Json Recording() {
  const Json tensor = Encode(Value(at::arange(6).view({2, 3})));
  const Json sharded = Encode(Value(DTensor{.local = at::ones({1, 3}),
                                            .mesh = {"cpu", {2}, {"dp"}, {0, 1}},
                                            .placements = {*Placement::Parse("S(0)")},
                                            .shape = {2, 3},
                                            .stride = {3, 1}}));
  const Json built = {{"value", {{"$handle", "model:1"}}}};
  return {{"recording", kRecordingFormat},
          {"contract", 1},
          {"test", "t"},
          {"implementation", "reference"},
          {"world_size", 2},
          {"seed", 7},
          {"steps",
           {{{"step", 0}, {"op", "model.build"}, {"args", {{"model", "mlp"}}}, {"ranks", "all"}, {"outcomes", {built, built}}},
            {{"step", 1},
             {"op", "model.state_dict"},
             {"args", {{"model", {{"$ref", Json::array({0})}}}}},
             {"ranks", "all"},
             {"outcomes", {{{"value", {{"w", tensor}, {"v", sharded}}}}, {{"error", {{"kind", "ValueError"}, {"message", "x"}}}}}},
             {"warnings", {{{"category", "UserWarning"}, {"message", "y"}}}}}}}};
}

constexpr const char* kPlan = R"({"implementation": {"label": "reference,x=1", "source": "reference", "options": {"x": "1"},
  "device": "cpu", "mutant": null}, "world_size": 2, "host": "h", "seed": 1234, "trace": "inline",
  "test_timeout_seconds": 60.0, "run_folder": "/o", "pool_folder": "/o/p", "trace_folder": "/o/t", "tests": ["a", "b"],
  "recordings": ["a", "b+repetition=2"]})";

constexpr const char* kEvents = R"({"event": "rank_started", "rank": 0, "time": 1.5, "pid": 10, "host": "h", "world_size": 1, "start": "warm"}
{"event": "implementation_started", "rank": 0, "time": 1.5}
{"event": "pool_ready", "rank": 0, "seconds": 1, "implementation": {"name": "x", "version": "1", "capabilities": ["core"], "devices": ["cpu"], "patches": [{"target": "t", "reason": "r"}], "notes": {"torch": "2"}}}
{"event": "test_started", "rank": 0, "test": "a", "index": 0}
{"event": "test_finished", "rank": 0, "test": "a", "index": 0, "verdict": "fail", "reason": "C1: x", "seconds": 0.5, "operations": 3, "checks": {"C1": {"evaluated": 2, "strict": 1, "failed": 1}}, "device_limited": {"C2": "needs a GPU"}, "failures": [{"check": "C1", "message": "m", "file": "f.cc", "line": 3, "operation": "model.build"}], "timings": {"gather": {"calls": 2, "seconds": 0.25}}}
{"event": "rank_crashed", "rank": 0, "signal": 11}
{"event": "pool_finished", "rank": 0}
)";

constexpr const char* kWaivers = R"(# known
[[waiver]]
test = "fuzz/T.test_a/world_size=2"
implementation = "torch"
device = "cpu"
verdict = "fail"
checks = ["C1"]
owner = "core team"
reason = "it is known"
evidence = "docs/deviations.md"
expires = 2027-01-31
)";

std::vector<TestCase> Tests() {
  return ParseInventory(R"({"suite": "fuzz", "tests": [{"function": "test_a", "instances": [{"id": "T.test_a"}],
    "world_sizes": [2], "checks": [{"id": "C1", "strength": "strict"}]}]})", "fuzz");
}

void ReadEvents(const fs::path& file) {
  PoolRecord record({"a", "b"}, 1);
  std::ifstream stream(file, std::ios::binary);
  for (std::string line; std::getline(stream, line);) record.Apply(0, line);
}

class FileFuzz : public testing::Test {
 protected:
  // An even part of all cases.
  void Fuzz(const std::string& name, const std::vector<std::string>& samples, const Reader& read) {
    ASSERT_FALSE(samples.empty());
    const uint64_t seed = FromEnvironment("SHARDCTS_FUZZ_SEED", std::random_device()());
    const uint64_t cases = FromEnvironment("SHARDCTS_FUZZ_CASES", 2000) / 8;
    std::cout << name << ": " << cases << " cases, SHARDCTS_FUZZ_SEED=" << seed << std::endl;
    Random random(seed);
    const fs::path file = folder_.path() / name;
    for (const std::string& sample : samples) {
      Write(file, sample);
      EXPECT_EQ(ProblemOf(file, read, false), "") << "the sample itself";
    }
    for (uint64_t i = 0; i < cases && !HasFailure(); ++i) {
      Write(file, MutateText(samples[random() % samples.size()], random));
      const auto begin = std::chrono::steady_clock::now();
      EXPECT_EQ(ProblemOf(file, read, true), "") << Kept(file) << ", case " << i;
      EXPECT_LT(std::chrono::steady_clock::now() - begin, kLongestCase) << Kept(file);
    }
  }

 private:
  static void Write(const fs::path& file, const std::string& text) { std::ofstream(file, std::ios::binary) << text; }

  std::string Kept(const fs::path& file) const {
    const fs::path kept = fs::temp_directory_path() / ("shardcts-fuzz-" + file.filename().string());
    fs::copy_file(file, kept, fs::copy_options::overwrite_existing);
    return kept.string();
  }

  static std::string ProblemOf(const fs::path& file, const Reader& read, bool may_refuse) {
    std::string message;
    bool names_file = true;
    try {
      read(file);
      return "";
    } catch (const InputError& error) {
      message = error.what();
      names_file = message.find(file.filename().string()) != message.npos ||
                   message.starts_with(file.parent_path().string());  // of a recording, which is a folder
    } catch (const ProtocolError& error) {
      message = error.what();
    } catch (const std::exception& error) {
      return "another exception: " + std::string(error.what());
    }
    if (!may_refuse) return "refused: " + message;
    if (!names_file) return "does not name the file: " + message;
    return message.size() > kLongestError ? "a message of " + std::to_string(message.size()) + " bytes" : "";
  }

  TemporaryFolder folder_;
};

TEST_F(FileFuzz, Scripts) {
  Fuzz("script.json", FilesIn(EXAMPLES_FOLDER, ".json"),
       [](const fs::path& file) { ReadScripts(ReadRecording(file.string()), file.string()); });
}

TEST_F(FileFuzz, Recordings) {
  const TemporaryFolder folder;
  const fs::path right = folder.path() / "right.json";
  std::ofstream(right) << Recording().dump();
  Fuzz("recording.json", {Recording().dump(1)}, [&](const fs::path& file) {
    CompareTraces(right, file);
    ReadScript(file.string());
  });
}

// What is read of a recording: its script, and by parity all of its values.
void ReadAll(const fs::path& recording) {
  CompareTraces(recording, recording);
  ReadScript(recording.string());
}

TEST_F(FileFuzz, Traces) {
  const Json header = {{"recording", kRecordingFormat}, {"contract", 1},   {"implementation", "reference"},
                       {"test", "t"},                   {"world_size", 1}, {"rank", 0},
                       {"seed", 7}};
  std::string lines = header.dump() + "\n";
  const Json recording = Recording();
  for (const Json& step : recording["steps"]) {
    lines += Json{{"step", step["step"]}, {"op", step["op"]}, {"args", step["args"]}, {"outcome", step["outcomes"][0]},
                  {"warnings", Json::array()}, {"seconds", 0.5}}
                 .dump() +
             "\n";
  }
  Fuzz("rank-0.jsonl", {lines}, [](const fs::path& file) { ReadAll(file.parent_path()); });
}

TEST_F(FileFuzz, Archives) {
  const TemporaryFolder folder;
  std::ofstream(folder.path() / "right.json") << Recording().dump();
  ExportRecording(folder.path() / "right.json", folder.path() / "right.zip");
  Fuzz("recording.zip", {FileText(folder.path() / "right.zip")}, ReadAll);
}

TEST_F(FileFuzz, Plans) {
  Fuzz("plan.json", {kPlan}, [](const fs::path& file) { ReadPlan(file.string()); });
}

TEST_F(FileFuzz, Events) { Fuzz("events.jsonl", {kEvents}, ReadEvents); }

TEST_F(FileFuzz, Waivers) {
  Fuzz("waivers.toml", {kWaivers, ""},
       [](const fs::path& file) { ParseWaivers(FileText(file), file.string(), Tests()); });
}

TEST_F(FileFuzz, Inventories) {
  std::vector<std::string> samples;
  for (const auto& suite : fs::directory_iterator(SUITES_FOLDER)) {
    if (fs::exists(suite.path() / "upstream.json")) samples.push_back(FileText(suite.path() / "upstream.json"));
  }
  Fuzz("upstream.json", samples, [](const fs::path& file) {
    const std::string text = FileText(file);
    MeasureInventory(text, file.string());
    ParseInventory(text, file.string());
  });
}

}  // namespace
}  // namespace shardcts
