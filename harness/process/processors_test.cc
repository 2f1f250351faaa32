#include "process/processors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

#include "process/process.h"

namespace shardcts {
namespace {

using testing::ElementsAre;

TEST(ProcessorSharesTest, AreEqualAndApart) {
  ProcessorShares shares({0, 1, 2, 5, 6});
  const ProcessorShares::Share a(shares);
  EXPECT_THAT(a.Now(), ElementsAre(0, 1, 2, 5, 6));
  const ProcessorShares::Share b(shares);
  EXPECT_THAT(a.Now(), ElementsAre(0, 1));
  EXPECT_THAT(b.Now(), ElementsAre(2, 5, 6));
}

TEST(ProcessorSharesTest, OthersGetWhatOneLeavesAndKeepTheirsWhenOneFollows) {
  ProcessorShares shares({0, 1, 2, 3});
  std::optional<ProcessorShares::Share> a(std::in_place, shares);
  const ProcessorShares::Share b(shares);
  EXPECT_THAT(b.Now(), ElementsAre(2, 3));
  a.reset();
  EXPECT_THAT(b.Now(), ElementsAre(0, 1, 2, 3));
  a.emplace(shares);
  EXPECT_THAT(a->Now(), ElementsAre(0, 1));
  EXPECT_THAT(b.Now(), ElementsAre(2, 3));
}

TEST(ProcessorSharesTest, AllForEachWhenThereAreTooFew) {
  ProcessorShares shares({0, 1});
  const ProcessorShares::Share a(shares), b(shares), c(shares);
  for (const ProcessorShares::Share* share : {&a, &b, &c}) EXPECT_THAT(share->Now(), ElementsAre(0, 1));
}

TEST(ProcessorSharesTest, NoneAreKnown) {
  ProcessorShares shares({});
  EXPECT_THAT(ProcessorShares::Share(shares).Now(), ElementsAre());
}

TEST(BindProcessTest, BindsEveryThread) {
  const Processors all = AllowedProcessors();
  ASSERT_FALSE(all.empty());
  std::atomic<bool> stop = false;
  Processors of_thread;
  std::jthread thread([&] {
    while (!stop) std::this_thread::yield();
    of_thread = AllowedProcessors();
  });
  BindProcess(getpid(), {all.back()});
  EXPECT_THAT(AllowedProcessors(), ElementsAre(all.back()));
  stop = true;
  thread.join();
  EXPECT_THAT(of_thread, ElementsAre(all.back()));
  BindProcess(getpid(), all);
  EXPECT_EQ(AllowedProcessors(), all);
}

TEST(BindProcessTest, WhatHasEndedIsLeftAlone) {
  ChildProcess child({{"true"}, {}, "/dev/null"});
  ASSERT_TRUE(child.Wait(std::chrono::seconds(20)));
  BindProcess(child.pid(), {0});
}

}  // namespace
}  // namespace shardcts
