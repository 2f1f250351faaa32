// Python and PyTorch in a process that was forked after they had been loaded.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iostream>

#include "adapters/loader.h"

namespace shardcts {
namespace {

constexpr const char* kSource = "python:bridge_adapter:BridgeAdapter";

int ThreadCount() {
  const std::filesystem::directory_iterator threads("/proc/self/task");
  return static_cast<int>(std::distance(begin(threads), end(threads)));
}

// The exit code of a fork that runs `body`; what it throws is printed and gives 1.
int RunInFork(const std::function<int()>& body) {
  std::cout << std::flush;
  const pid_t pid = ::fork();
  if (pid == 0) {
    int code = 1;
    try {
      code = body();
    } catch (const std::exception& error) {
      std::cerr << error.what() << std::endl;
    }
    std::_Exit(code);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Value CallInFork(std::string_view operation, const Dict& arguments = {}) {
  static const std::unique_ptr<LoadedImplementation> bridge = LoadImplementation(kSource, ImplementationContext{});
  const Outcome outcome = bridge->Invoke(operation, arguments);
  if (!outcome.ok()) throw std::runtime_error(outcome.error().kind + ": " + outcome.error().message);
  return outcome.value();
}

// This process never loads an adapter: it only preloads, and each test is a fork of it.
class PreloadTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    ::setenv("OMP_NUM_THREADS", "1", 1);  // as ranks have it
    at::set_num_threads(1);
    PreloadImplementation(kSource, {});
  }
};

TEST_F(PreloadTest, OneThreadIsThere) { EXPECT_EQ(ThreadCount(), 1); }

TEST_F(PreloadTest, PyTorchIsLoadedAndTheAdapterIsNot) {
  EXPECT_EQ(RunInFork([] {
              const Dict modules = CallInFork("test.modules").AsDict();
              if (!modules.At("torch.distributed.fsdp").AsBool()) return 2;
              return modules.At("shardcts.torch_adapter").AsBool() ? 3 : 0;
            }),
            0);
}

TEST_F(PreloadTest, ForksSeeTheirOwnEnvironment) {
  ::setenv("BEFORE", "1", 1);
  EXPECT_EQ(RunInFork([] {
              ::unsetenv("BEFORE");
              ::setenv("AFTER", "2", 1);
              const Dict environment = CallInFork("test.environment").AsDict();
              if (environment.Contains("BEFORE")) return 2;
              return environment.At("AFTER").AsString() == "2" ? 0 : 3;
            }),
            0);
}

TEST_F(PreloadTest, ForksRunThreadsProcessesAndBackward) {
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(RunInFork([] {
                const at::Tensor gradient = CallInFork("test.after_fork").AsTensor();
                return at::equal(gradient, at::full({3}, 2.0)) ? 0 : 2;
              }),
              0);
  }
}

}  // namespace
}  // namespace shardcts
