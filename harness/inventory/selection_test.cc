#include "inventory/selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "run_files/input_error.h"

namespace shardcts {
namespace {

using testing::HasSubstr;

TestCase Case(const std::string& id, int world_size) {
  TestCase test;
  test.id = id;
  test.suite = id.substr(0, id.find('/'));
  test.world_size = world_size;
  return test;
}

const std::vector<TestCase> kTests = {Case("s/T.a/world_size=2,dim=2", 2), Case("s/T.a/world_size=2,dim=20", 2),
                                      Case("s/T.b/world_size=4", 4), Case("t/T.c/world_size=16", 16)};

std::string SelectedIds(const Selection& selection) {
  std::string ids;
  for (const TestCase& test : Select(kTests, selection)) ids += test.id + " ";
  return ids;
}

std::string SelectionError(const Selection& selection) {
  try {
    Select(kTests, selection);
  } catch (const InputError& error) {
    return error.what();
  }
  return "none";
}

TEST(FilterTest, WildcardsFitTheWholeAndPlainTextAPart) {
  EXPECT_TRUE(FitsFilter("T.a", "s/T.a/x"));
  EXPECT_FALSE(FitsFilter("T.a*", "s/T.a/x"));
  EXPECT_TRUE(FitsFilter("*T.?/x", "s/T.a/x"));
  EXPECT_TRUE(FitsFilter("*a*a*", "banana"));
  EXPECT_FALSE(FitsFilter("b?n", "banana"));
  EXPECT_TRUE(FitsFilter("*", ""));
}

TEST(SelectTest, FiltersAdd) {
  EXPECT_EQ(SelectedIds({{}, {"T.b", "dim=20"}}), "s/T.a/world_size=2,dim=20 s/T.b/world_size=4 ");
}

TEST(SelectTest, ExactIdTakesThatTestAlone) {
  EXPECT_EQ(SelectedIds({{}, {"s/T.a/world_size=2,dim=2"}}), "s/T.a/world_size=2,dim=2 ");
}

TEST(SelectTest, WorldSizesAndShardsDivide) {
  EXPECT_EQ(SelectedIds({{"s"}, {}, {4}}), "s/T.b/world_size=4 ");
  EXPECT_EQ(SelectedIds({{"s"}, {}, {}, 8, 2, 2}), "s/T.a/world_size=2,dim=20 ");
}

TEST(SelectTest, ErrorsNameWhatIsWrong) {
  EXPECT_THAT(SelectionError({{"x"}}), HasSubstr("--suite x: unknown suite \"x\"; the nearest known one is \"s\""));
  EXPECT_THAT(SelectionError({{}, {"nothing"}}), HasSubstr("--filter nothing: fits no test"));
  EXPECT_THAT(SelectionError({}), HasSubstr("needs 16 ranks, more than --max-world 8"));
  EXPECT_THAT(SelectionError({{"s"}, {"T.b"}, {}, 8, 2, 2}), HasSubstr("--shard 2/2: empty, only 1 tests"));
}

TEST(ShardTest, TextIsRead) {
  Selection selection;
  ParseShard("2/4", selection);
  EXPECT_EQ(selection.shard_index, 2);
  EXPECT_EQ(selection.shard_count, 4);
  for (const char* text : {"", "2", "0/4", "5/4", "1/2x", "a/b", "1/"})
    EXPECT_THROW(ParseShard(text, selection), InputError);
}

}  // namespace
}  // namespace shardcts
