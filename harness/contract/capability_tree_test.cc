#include "contract/capability_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "contract/operation_table.h"

namespace shardcts {
namespace {

using Names = std::vector<std::string>;

TEST(CapabilityTreeTest, PartsStandAfterWhatTheyArePartsOf) {
  EXPECT_EQ(WithParentCapabilities({"core", "a.b.c", "a.d", "a"}), (Names{"core", "a", "a.b", "a.b.c", "a.d"}));
}

TEST(CapabilityTreeTest, WhoeverDeclaresANameHasItsParts) {
  EXPECT_TRUE(DeclaresCapability({"a"}, "a"));
  EXPECT_TRUE(DeclaresCapability({"a"}, "a.b.c"));
  EXPECT_FALSE(DeclaresCapability({"a"}, "ab"));
  EXPECT_FALSE(DeclaresCapability({"a"}, "b"));
  EXPECT_FALSE(DeclaresCapability({}, "a"));
}

TEST(CapabilityTreeTest, WhoeverDeclaresAPartHasTheNameAndNoOtherPart) {
  EXPECT_TRUE(DeclaresCapability({"a.b"}, "a"));
  EXPECT_TRUE(DeclaresCapability({"a.b"}, "a.b.c"));
  EXPECT_FALSE(DeclaresCapability({"a.b"}, "a.d"));
}

TEST(CapabilityTreeTest, PartsMayBeExcluded) {
  EXPECT_TRUE(DeclaresCapability({"a", "-a.b"}, "a"));
  EXPECT_TRUE(DeclaresCapability({"a", "-a.b"}, "a.d"));
  EXPECT_FALSE(DeclaresCapability({"a", "-a.b"}, "a.b"));
  EXPECT_FALSE(DeclaresCapability({"a", "-a.b"}, "a.b.c"));
}

TEST(CapabilityTreeTest, DeclarationsThatContradictThemselves) {
  const Names known{"a", "a.b", "a.b.c", "d"};
  const auto problem = [&](const Names& declared) { return FindDeclarationProblem(declared, known).value_or("none"); };
  EXPECT_EQ(problem({"a", "-a.b", "d"}), "none");
  EXPECT_EQ(problem({"a", "a.b"}), "none");
  EXPECT_EQ(problem({"a.b.c"}), "none");
  EXPECT_EQ(problem({"a", "-a.b.c"}), "none");
  EXPECT_EQ(problem({"a.x"}), "unknown capability \"a.x\"; the nearest known one is \"a.b\"");
  EXPECT_EQ(problem({"a", "-a.x"}), "unknown capability \"a.x\"; the nearest known one is \"a.b\"");
  EXPECT_EQ(problem({"a", "a.b", "-a.b"}), "capability a.b is declared and excluded");
  EXPECT_EQ(problem({"d", "-a.b"}), "capability a.b is excluded, but is no part of anything that is declared");
  EXPECT_EQ(problem({"d", "-d"}), "capability d is declared and excluded");
  EXPECT_EQ(problem({"a", "-a.b", "a.b.c"}), "capability a.b.c is declared, but a.b is excluded");
}

TEST(CapabilityTreeTest, TheContractHasEveryParent) {
  const Names known = Capabilities();
  EXPECT_EQ(WithParentCapabilities(known), known) << "in operations.json parts stand below what they are parts of";
}

}  // namespace
}  // namespace shardcts
