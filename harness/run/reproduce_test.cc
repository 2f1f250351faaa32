#include "run/reproduce.h"

#include <gtest/gtest.h>

namespace shardcts {
namespace {

TEST(ShellWordTest, QuotesWhatAShellWouldTouch) {
  EXPECT_EQ(ShellWord("torch+mutant=x"), "torch+mutant=x");
  EXPECT_EQ(ShellWord("a[1] b'c"), "'a[1] b'\\''c'");
  EXPECT_EQ(ShellWord(""), "''");
}

}  // namespace
}  // namespace shardcts
