// What a run compares after its tests, with the fake rank.
#include <gtest/gtest.h>

#include "run/run.h"
#include "run/tests/pool_setup.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

class ParityRunTest : public testing::Test {
 protected:
  TemporaryFolder folder_;
};

TEST_F(ParityRunTest, ParityComparesWithTheBaseline) {
  RunOptions options = FakeRun(folder_, {"a"});
  options.implementations.push_back({"other", "reference", {}, "cpu", std::nullopt});
  options.baseline = "other";
  options.parity = [](const auto& a, const auto& b) {
    return Json{{"first_difference", a.parent_path().filename().string() + " " + b.parent_path().filename().string()}};
  };
  const Json results = RunAndRead(options);
  EXPECT_EQ(results["tests"][0]["parity"], Json::parse(R"({"against": "other", "waived": false, "first_difference": "other fake"})"));
  EXPECT_EQ(results["tests"][1]["parity"], Json());
}

TEST_F(ParityRunTest, LabelsThatShareAFolderAreRefused) {
  RunOptions options = FakeRun(folder_, {"a"});
  options.implementations = {{"a/b", "reference", {}, "cpu", std::nullopt},
                             {"a:b", "reference", {}, "cpu", std::nullopt}};
  try {
    RunAndRead(options);
    FAIL() << "no error";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("a:b and a/b have one folder, a_b"), std::string::npos) << error.what();
  }
}

TEST_F(ParityRunTest, ParityOfATestWithAKnownDifferenceIsNoNews) {
  RunOptions options = FakeRun(folder_, {"a", "b"});
  options.implementations.push_back({"other", "reference", {}, "cpu", std::nullopt});
  options.baseline = "other";
  options.parity = [](const auto&, const auto&) { return Json{{"different", 1}}; };
  options.known_differences = {{"d.toml:3", FakeTest("b").id, "torch", "not of this implementation", "a link"},
                               {"d.toml:9", FakeTest("b").id, "reference", "another order", "a link"}};
  const Json results = RunAndRead(options);
  EXPECT_EQ(results["tests"][0]["parity"], Json::parse(R"({"against": "other", "waived": false, "different": 1})"));
  EXPECT_EQ(results["tests"][1]["parity"], Json::parse(
      R"({"against": "other", "waived": true, "apart": "d.toml:9: another order", "different": 1})"));
}

TEST_F(ParityRunTest, ParityOfATestWhoseRanksAreKilledIsNoNews) {
  RunOptions options = FakePhasedRun(folder_, {"a"});
  options.tests.front().phases.front().role = "crash";
  options.implementations.push_back({"other", "reference", {}, "cpu", std::nullopt});
  options.baseline = "other";
  options.parity = [](const auto&, const auto&) { return Json{{"different", 1}}; };
  const Json parity = RunAndRead(options)["tests"][0]["parity"];
  EXPECT_EQ(parity["waived"], true);
  EXPECT_EQ(parity["apart"], "where ranks are killed follows from the files that are made");
}

}  // namespace
}  // namespace shardcts
