#include "storage/fuzz/fuzz_targets.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

namespace shardcts::reference {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kSeed = 4711;
constexpr int kChangedInputs = 400;  // of each file

// The corpus as it is, cut, and with a few bytes changed: nothing but a SemanticError, which the targets catch.
TEST(FuzzTargetsTest, CorpusAndChangedInputsAreReadOrRefused) {
  std::minstd_rand random(kSeed);
  for (const FuzzTarget& target : kFuzzTargets) {
    int files = 0;
    for (const fs::directory_entry& entry : fs::directory_iterator(fs::path(SHARDCTS_FUZZ_CORPUS) / target.name)) {
      std::ifstream file(entry.path(), std::ios::binary);
      const std::string whole{std::istreambuf_iterator<char>(file), {}};
      target.read(whole);
      for (int i = 0; i < kChangedInputs; ++i) {
        std::string changed = i % 4 == 0 ? whole.substr(0, random() % whole.size()) : whole;
        for (size_t changes = random() % 4; changes > 0 && !changed.empty(); --changes) {
          changed[random() % changed.size()] = static_cast<char>(random());
        }
        target.read(changed);
      }
      ++files;
    }
    EXPECT_GT(files, 0) << target.name;
  }
}

}  // namespace
}  // namespace shardcts::reference
