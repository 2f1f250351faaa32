#include "run/reproduce.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "run/run.h"

namespace shardcts {
namespace {

TEST(ShellWordTest, QuotesWhatAShellWouldTouch) {
  EXPECT_EQ(ShellWord("torch+mutant=x"), "torch+mutant=x");
  EXPECT_EQ(ShellWord("a[1] b'c"), "'a[1] b'\\''c'");
  EXPECT_EQ(ShellWord(""), "''");
}

TEST(ReproduceCommandTest, SaysWherePythonFindsTheModule) {
  RunOptions options;
  options.program = "build/shardcts";
  TestCase test;
  test.id = "s/T.f/world_size=2";
  const auto command = [&](const char* spec) { return ReproduceCommand(options, ParseImplementationSpec(spec), test); };
  const char* before = std::getenv("SHARDCTS_PYTHONPATH");
  const std::string kept = before == nullptr ? "" : before;
  ::setenv("SHARDCTS_PYTHONPATH", "my folder:b", 1);
  EXPECT_TRUE(command("python:m:C").starts_with("SHARDCTS_PYTHONPATH='my folder:b' build/shardcts run --impl python:m:C "));
  EXPECT_TRUE(command("torch").starts_with("build/shardcts run "));
  ::unsetenv("SHARDCTS_PYTHONPATH");
  EXPECT_TRUE(command("python:m:C").starts_with("build/shardcts run "));
  if (before != nullptr) ::setenv("SHARDCTS_PYTHONPATH", kept.c_str(), 1);
}

TEST(ReproduceCommandTest, SaysHowTheRanksWereStarted) {
  RunOptions options;
  options.program = "shardcts";
  TestCase test;
  test.id = "s";
  const auto command = [&] { return ReproduceCommand(options, ParseImplementationSpec("torch"), test); };
  EXPECT_EQ(command(), "shardcts run --impl torch --filter s --seed 1234 --out out/reproduce");
  options.start_mode = StartMode::kCold;
  options.pool_mode = PoolMode::kFresh;
  options.launcher = "mpiexec -n {ranks}";
  options.control_address = "10.0.0.1";
  options.limits.test = std::chrono::milliseconds(1'500);
  options.limits.start = std::chrono::seconds(600);
  options.limits.stop_peers = std::chrono::seconds(1);
  EXPECT_EQ(command(),
            "shardcts run --impl torch --filter s --seed 1234 --pool fresh --start cold "
            "--launcher 'mpiexec -n {ranks}' --control-address 10.0.0.1 --timeout 1.5 --start-timeout 600 --stop-timeout 1 --out out/reproduce");
}

}  // namespace
}  // namespace shardcts
