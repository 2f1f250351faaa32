#include "mutants/source_mutants.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "run_files/input_error.h"
#include "testing/temporary_folder.h"

namespace shardcts {
namespace {

std::filesystem::path TableWith(const TemporaryFolder& folder, const std::string& text) {
  const std::filesystem::path table = folder.path() / "table.json";
  std::ofstream(table) << text;
  return table;
}

TEST(SourceMutants, AreNoneWhereTheirLibraryWasNotBuilt) {
  EXPECT_TRUE(ReadSourceMutants("/nowhere/table.json").empty());
}

TEST(SourceMutants, AreReadSorted) {
  const TemporaryFolder folder;
  const std::string rest = R"("description": "d", "models": "m", "suites": ["s"], "expected_checks": ["f C1"],
                              "min_world_size": 3, "tests": [], "unnoticed": "")";
  const auto infos = ReadSourceMutants(
      TableWith(folder, R"({"mutants": [{"name": "b", )" + rest + R"(}, {"name": "a", )" + rest + "}]}"));
  ASSERT_EQ(infos.size(), 2u);
  EXPECT_EQ(infos[0].name, "a");
  EXPECT_EQ(infos[1].min_world_size, 3);
  EXPECT_THAT(infos[1].expected_checks, ::testing::ElementsAre("f C1"));
}

TEST(SourceMutants, ATableWithoutAFieldIsAnInputError) {
  const TemporaryFolder folder;
  EXPECT_THROW(ReadSourceMutants(TableWith(folder, R"({"mutants": [{"name": "a"}]})")), InputError);
}

}  // namespace
}  // namespace shardcts
