#include "rank/rank_number.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace shardcts {
namespace {

class RankNumberTest : public testing::Test {
 protected:
  void SetUp() override { Clear(); }
  void TearDown() override { Clear(); }
  static void Clear() {
    for (const char* name : {"PMI_RANK", "PMI_SIZE", "PMIX_RANK", "PMIX_SIZE", "OMPI_COMM_WORLD_RANK",
                             "OMPI_COMM_WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS"}) {
      ::unsetenv(name);
    }
  }
};

TEST_F(RankNumberTest, NothingIsSaid) { EXPECT_FALSE(RankNumberOfLauncher().has_value()); }

TEST_F(RankNumberTest, EveryLaunchersNamesAreKnown) {
  for (const auto& [rank, size] : {std::pair{"PMI_RANK", "PMI_SIZE"}, {"PMIX_RANK", "PMIX_SIZE"},
                                   {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"}, {"SLURM_PROCID", "SLURM_NTASKS"}}) {
    Clear();
    ::setenv(rank, "3", 1);
    ASSERT_TRUE(RankNumberOfLauncher().has_value()) << rank;
    EXPECT_EQ(RankNumberOfLauncher()->rank, 3);
    EXPECT_FALSE(RankNumberOfLauncher()->world_size.has_value());
    ::setenv(size, "8", 1);
    EXPECT_EQ(RankNumberOfLauncher()->world_size, 8);
  }
}

TEST_F(RankNumberTest, WhatIsNoNumberIsNotTaken) {
  for (const char* text : {"", "-1", "x", "1x", "99999999999"}) {
    ::setenv("PMI_RANK", text, 1);
    EXPECT_FALSE(RankNumberOfLauncher().has_value()) << text;
  }
}

}  // namespace
}  // namespace shardcts
