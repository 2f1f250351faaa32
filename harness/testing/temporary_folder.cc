#include "testing/temporary_folder.h"

#include <stdlib.h>

#include <string>

namespace shardcts {

namespace fs = std::filesystem;

TemporaryFolder::TemporaryFolder() {
  std::string name = (fs::temp_directory_path() / "shardcts-test-XXXXXX").string();
  path_ = ::mkdtemp(name.data());
}

TemporaryFolder::~TemporaryFolder() { fs::remove_all(path_); }

}  // namespace shardcts
