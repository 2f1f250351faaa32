#include "contract/nearest_name.h"

#include <gtest/gtest.h>

#include <set>

namespace shardcts {
namespace {

TEST(NearestName, CountsAddedDroppedAndReplacedLetters) {
  EXPECT_EQ(EditDistance("", ""), 0u);
  EXPECT_EQ(EditDistance("", "abc"), 3u);
  EXPECT_EQ(EditDistance("abc", ""), 3u);
  EXPECT_EQ(EditDistance("strict", "strict"), 0u);
  EXPECT_EQ(EditDistance("stict", "strict"), 1u);
  EXPECT_EQ(EditDistance("stricct", "strict"), 1u);
  EXPECT_EQ(EditDistance("ftrict", "strict"), 1u);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3u);
}

TEST(NearestName, IsTheFirstOfTheNearest) {
  EXPECT_EQ(NearestName("fspd", {"ddp", "fsdp", "fspp"}), "fspp");
  EXPECT_EQ(NearestName("b", {"a", "c"}), "a");
  EXPECT_EQ(NearestName("b", {}), "");
}

TEST(NearestName, IsInTheMessage) {
  const std::set<std::string> known = {"core", "fsdp1", "fsdp2"};
  EXPECT_EQ(UnknownName("capability", "fsdp3", known), "unknown capability \"fsdp3\"; the nearest known one is \"fsdp1\"");
  EXPECT_EQ(UnknownName("argument", "lrr", std::vector<const char*>{"lr"}, "options."),
            "unknown argument \"options.lrr\"; the nearest known one is \"options.lr\"");
  EXPECT_EQ(UnknownName("option", "x", std::vector<std::string>{}), "unknown option \"x\"; there are none");
}

TEST(NearestName, OfALongNameOnlyTheBeginningIsPrinted) {
  const std::string message = UnknownName("option", std::string(5'000'000, 'x'), std::vector<std::string>{"strict"});
  EXPECT_EQ(message, "unknown option \"" + std::string(100, 'x') + "...\"; the nearest known one is \"strict\"");
}

}  // namespace
}  // namespace shardcts
