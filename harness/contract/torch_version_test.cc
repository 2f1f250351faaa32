#include "contract/torch_version.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/headeronly/version.h>

#include <fstream>

namespace shardcts {
namespace {

using testing::StartsWith;

TEST(TorchVersionTest, TheLoadedOneIsTheBuiltOne) {
  EXPECT_TRUE(LoadedTorchIsTheBuilt());
  EXPECT_THAT(LoadedTorchVersion(), StartsWith(TORCH_VERSION));
}

TEST(TorchVersionTest, APackageTellsItsBuild) {
  const std::filesystem::path folder = testing::TempDir() + "torch_version_test";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "version.py") << "from typing import Optional\n\n__all__ = ['__version__', 'debug']\n"
                                          "__version__ = '2.15.0+cu132'\ndebug = False\n";
  EXPECT_EQ(TorchVersionIn(folder), "2.15.0+cu132");
  std::ofstream(folder / "version.py") << "__version__ = '2.15";
  EXPECT_EQ(TorchVersionIn(folder), "");
  EXPECT_EQ(TorchVersionIn(folder / "none"), "");
}

}  // namespace
}  // namespace shardcts
