// The program as a user calls it, on an inventory of its own and the fake rank.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "process/process.h"
#include "run_files/json_file.h"

namespace shardcts {
namespace {

using testing::HasSubstr;
using testing::Not;

struct Ended {
  int code = -1;
  std::string output;
};

class CommandTest : public testing::Test {
 protected:
  CommandTest() {
    std::string name = (std::filesystem::temp_directory_path() / "shardcts-cli-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~CommandTest() override { std::filesystem::remove_all(folder_); }

  Ended Call(std::vector<std::string> words) {
    words.insert(words.begin(), SHARDCTS_FAKE);
    std::filesystem::remove(folder_ / "output");
    ChildProcess child({words, {{"SHARDCTS_PYTHON", "/bin/echo"}}, folder_ / "output"});
    const std::optional<int> status = child.Wait(std::chrono::seconds(60));
    std::ifstream stream(folder_ / "output");
    return {status && WIFEXITED(*status) ? WEXITSTATUS(*status) : -1,
            {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()}};
  }
  Ended Run(std::vector<std::string> words) {
    words.insert(words.begin(), {"run", "--impl", "reference", "--rank-program", FAKE_RANK, "--out", Out()});
    return Call(words);
  }
  std::string Out() const { return (folder_ / "out").string(); }

  std::filesystem::path folder_;
};

TEST_F(CommandTest, ListPrintsIds) {
  const Ended ended = Call({"list", "--max-world", "16", "--filter", "test_a"});
  EXPECT_EQ(ended.code, 0);
  EXPECT_EQ(ended.output, "fake/T.test_a/world_size=1\nfake/T.test_a/world_size=2\n");
}

TEST_F(CommandTest, ProfileMustBeOneOfTheLists) {
  const Ended unknown = Run({"--max-world", "16", "--profile", "fsdp3"});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_THAT(unknown.output, HasSubstr("--profile fsdp3: unknown profile \"fsdp3\""));
  const Ended version = Run({"--max-world", "16", "--profile", "fsdp2@7.0"});
  EXPECT_EQ(version.code, 2);
  EXPECT_THAT(version.output, HasSubstr("unknown version \"7.0\""));
  const Ended other_tests = Run({"--max-world", "16", "--profile", "fsdp2"});
  EXPECT_EQ(other_tests.code, 2);
  EXPECT_THAT(other_tests.output, HasSubstr("this build has no test \"fully_shard_state_dict/"));
  const Ended alone = Run({"--max-world", "16", "--level", "core"});
  EXPECT_EQ(alone.code, 2);
  EXPECT_THAT(alone.output, HasSubstr("--level: is for --profile"));
}

TEST_F(CommandTest, ListAsJson) {
  const auto json = nlohmann::ordered_json::parse(Call({"list", "--world", "1", "--json"}).output);
  EXPECT_EQ(json[0]["checks"][0]["id"], "C1");
}

TEST_F(CommandTest, GreenRunEndsWithZeroAndATable) {
  const Ended ended = Run({"--filter", "test_a"});
  EXPECT_EQ(ended.code, 0) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("reference           2     2     0\n"));
  EXPECT_THAT(ended.output, Not(HasSubstr("\033")));
  EXPECT_EQ(ReadJsonFile(folder_ / "out" / "results.json")["complete"], true);
}

TEST_F(CommandTest, FailureIsPrintedWithTheCommandThatReproducesIt) {
  const Ended ended = Run({"--filter", "test_fail", "--seed", "7"});
  EXPECT_EQ(ended.code, 1);
  EXPECT_THAT(ended.output,
              HasSubstr("fail fake/T.test_fail@1/world_size=2 [reference]: rank 1: C1: expected 1, got 2\n"));
  EXPECT_THAT(ended.output,
              HasSubstr(" run --impl reference --filter fake/T.test_fail@1/world_size=2 --seed 7 --out "));
}

constexpr const char* kWaiver = R"([[waiver]]
test = "fake/T.test_fail@1/world_size=2"
implementation = "reference"
device = "cpu"
verdict = "fail"
checks = ["C1"]
owner = "us"
reason = "known"
evidence = "none"
expires = )";

TEST_F(CommandTest, WaivedFailureIsGreenAndSaid) {
  const std::string file = (folder_ / "w.toml").string();
  std::ofstream(file) << kWaiver << "2999-12-31\n";
  const Ended ended = Run({"--filter", "test_a", "--filter", "test_fail", "--waivers", file});
  EXPECT_EQ(ended.code, 0) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("waived fake/T.test_fail@1/world_size=2 [reference]: known (waived by us until "
                                      "2999-12-31, " +
                                      file + ":1); fail: rank 1: C1: expected 1, got 2\n"));
  const std::string waived = "fail on reference (cpu), waived by us until 2999-12-31: known [" + file + ":1]";
  EXPECT_EQ(Call({"list", "--world", "2", "--waived", "--waivers", file}).output,
            "fake/T.test_fail@1/world_size=2\n  " + waived + "\n");
}

TEST_F(CommandTest, ExpiredWaiverIsSaidWithTheFailure) {
  const std::string file = (folder_ / "w.toml").string();
  std::ofstream(file) << kWaiver << "2020-12-31\n";
  const Ended ended = Run({"--filter", "test_a", "--filter", "test_fail", "--waivers", file});
  EXPECT_EQ(ended.code, 1) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("got 2; not waived: " + file + ":1 has expired on 2020-12-31\n"));
  EXPECT_THAT(ended.output, HasSubstr(" --waivers " + file + " --out out/reproduce\n"));
}

TEST_F(CommandTest, RepeatAndRequireAreInTheCommandThatReproduces) {
  const Ended ended = Run({"--filter", "test_fail", "--repeat", "2", "--require", "tp"});
  EXPECT_EQ(ended.code, 1) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr(" --repeat 2 --require tp --out out/reproduce\n"));
}

TEST_F(CommandTest, HangIsAConformanceFailure) {
  EXPECT_EQ(Run({"--filter", "test_hang", "--timeout", "0.3"}).code, 1);
}

TEST_F(CommandTest, WrongCommandsAreOneLineAndCodeTwo) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> rows = {
      {{}, "no command is given"},
      {{"run"}, "--impl is required"},
      {{"fly"}, "fly"},
      {{"run", "--impl", "nothing"}, "unknown implementation 'nothing'"},
      {{"run", "--impl", "reference", "--impl", "reference"}, "--impl reference: given twice"},
      {{"run", "--impl", "reference", "--suite", "x"}, "--suite x: unknown suite \"x\"; the nearest known one is \"fake\""},
      {{"run", "--impl", "reference", "--filter", "x"}, "--filter x: fits no test"},
      {{"run", "--impl", "reference", "--shard", "3/2"}, "--shard 3/2"},
      {{"run", "--impl", "reference", "--world", "2", "--trace", "x"}, "--trace"},
      {{"run", "--impl", "reference", "--world", "2", "--baseline", "torch"}, "--baseline torch: is not among"},
      {{"run", "--impl", "reference"}, "needs 16 ranks, more than --max-world 8"},
      {{"run", "--impl", "reference", "--world", "2", "--rank-program", "/nothing"},
       "/nothing: there is no such rank program"},
      {{"run", "--impl", "reference", "--world", "2", "--rank-program", FAKE_RANK, "--out", "/proc/x"}, "/proc/x"},
      {{"run", "--impl", "python:fake:Fake,start=input", "--world", "2", "--rank-program", FAKE_RANK, "--out", Out()},
       "no such module x"},
      {{"run", "--impl", "reference", "--world", "2", "--waivers", "/nothing.toml"}, "/nothing.toml: cannot be read"},
      {{"run", "--impl", "reference", "--world", "2", "--require", "pt"},
       "--require pt: unknown capability \"pt\"; the nearest known one is \"tp\""},
      {{"run", "--impl", "reference", "--world", "2", "--repeat", "0"}, "--repeat"},
      {{"run", "--impl", "reference", "--timeout", "nan"}, "--timeout: Value nan not in range [0.001 - 2592000]"},
      {{"run", "--impl", "reference", "--timeout", "1e300"}, "--timeout: Value 1e300 not in range"},
      {{"run", "--impl", "reference", "--timeout", "1e-300"}, "--timeout: Value 1e-300 not in range"},
      {{"run", "--impl", "reference", "--timeout", "-1"}, "--timeout: Value -1 not in range"},
      {{"run", "--impl", "reference", "--start-timeout", "inf"}, "--start-timeout: Value inf not in range"},
      {{"run", "--impl", "reference", "--stop-timeout", "0"}, "--stop-timeout: Value 0 not in range"},
      {{"run", "--impl", "reference", "--stop-after-hangs", "99999999999"}, "--stop-after-hangs"},
      {{"run", "--impl", "reference", "--stop-after-hangs", "-1"}, "--stop-after-hangs: Value -1 not in range"},
      {{"run", "--impl", "reference", "--seed", "-1"}, "--seed: Value -1 is no integer of 0 to 2^64 - 1"},
      {{"run", "--impl", "reference", "--seed", "1e300"}, "--seed: Value 1e300 is no integer"},
      {{"run", "--impl", "reference", "--seed", "18446744073709551616"}, "--seed: Value 18446744073709551616 is no"},
      {{"run", "--impl", "reference", "--max-world", "5000"}, "--max-world: Value 5000 not in range"},
      {{"run", "--impl", "reference", "--world", "0"}, "--world: Value 0 not in range"},
      {{"run", "--impl", "reference", "--jobs", "0"}, "--jobs: Value 0 not in range"},
      {{"run", "--impl", "reference", "--shard", "1/99999999999"}, "--shard 1/99999999999"},
      {{"run", "--impl", "reference,x=" + std::string(1100, 'x')}, "longer than 1000 bytes"},
      {{"run", "--impl", "reference,x=\xff"}, "argument 3 of the command is not UTF-8"},
      {{"run", "--impl", "reference", "--out", "\xff\xfe"}, "argument 5 of the command is not UTF-8"},
      {{"run", "--impl", "reference", "--world", "2", "--continue"}, "--continue: needs the run folder, --out DIR"},
      {{"recover", "/nothing"}, "/nothing/results.json: cannot be read"},
      {{"report", "/nothing"}, "/nothing/results.json: cannot be read"},
  };
  for (const auto& [words, message] : rows) {
    const Ended ended = Call(words);
    EXPECT_EQ(ended.code, 2) << ended.output;
    EXPECT_THAT(ended.output, testing::StartsWith("shardcts: "));
    EXPECT_THAT(ended.output, HasSubstr(message));
    EXPECT_EQ(std::count(ended.output.begin(), ended.output.end(), '\n'), 1) << ended.output;
  }
}

TEST_F(CommandTest, AReaderThatGoesAwayDoesNotEndTheRun) {
  const std::string command = std::string(SHARDCTS_FAKE) + " run --impl reference --rank-program " + FAKE_RANK +
                              " --filter test_fail --filter test_a --repeat 3 --out " + Out() + " | true";
  EXPECT_EQ(std::system(command.c_str()), 0);
  const auto results = ReadJsonFile(folder_ / "out" / "results.json");
  EXPECT_EQ(results["complete"], true);
  EXPECT_EQ(results["summary"]["reference"]["pass"], 2);
  EXPECT_EQ(results["summary"]["reference"]["fail"], 1);
}

TEST_F(CommandTest, RecoverMakesTheResultsAgain) {
  ASSERT_EQ(Run({"--filter", "test_fail", "--filter", "test_a"}).code, 1);
  const auto file = folder_ / "out" / "results.json";
  const auto before = ReadJsonFile(file);
  auto lost = before;
  lost["complete"] = false;
  for (auto& test : lost["tests"]) test["verdict"] = "not_run", test["log"] = nullptr, test["checks"] = nullptr;
  std::ofstream(file) << lost;
  const Ended ended = Call({"recover", Out(), "--rank-program", FAKE_RANK});
  EXPECT_EQ(ended.code, 1) << ended.output;
  const auto after = ReadJsonFile(file);
  for (const char* key : {"complete", "summary", "implementations"}) EXPECT_EQ(after[key], before[key]) << key;
  for (size_t i = 0; i < before["tests"].size(); ++i) {
    for (const char* key : {"verdict", "reason", "checks", "failures", "log", "trace", "ranks"}) {
      EXPECT_EQ(after["tests"][i][key], before["tests"][i][key]) << key;
    }
  }
}

TEST_F(CommandTest, ReportRefusesTruncatedResults) {
  std::ofstream(folder_ / "results.json") << "{\"schema_version\": 1, \"tests\": [";
  const Ended ended = Call({"report", folder_.string()});
  EXPECT_EQ(ended.code, 2);
  EXPECT_THAT(ended.output, HasSubstr("results.json: line 1, column 33: truncated"));
}

TEST_F(CommandTest, ReportCallsThePythonPackage) {
  std::ofstream(folder_ / "results.json") << "{\"schema_version\": 1}";
  EXPECT_EQ(Call({"report", folder_.string()}).output, "-m shardcts_reports " + folder_.string() + "\n");
}

}  // namespace
}  // namespace shardcts
