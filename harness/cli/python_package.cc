#include "cli/python_package.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include "run_files/input_error.h"

namespace shardcts {
namespace {

std::string EnvironmentOr(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? otherwise : value;
}

}  // namespace

void ExecutePythonPackage(const std::filesystem::path& folder, const std::string& package,
                          const std::vector<std::string>& words) {
  const std::string python = EnvironmentOr("SHARDCTS_PYTHON", SHARDCTS_DEFAULT_PYTHON);
  const std::string inherited = EnvironmentOr("PYTHONPATH", "");
  const std::string path = folder.string() + (inherited.empty() ? "" : ":" + inherited);
  ::setenv("PYTHONPATH", path.c_str(), 1);
  std::vector<std::string> all = {python, "-m", package};
  all.insert(all.end(), words.begin(), words.end());
  std::vector<char*> arguments;
  for (std::string& word : all) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  std::cout << std::flush;
  ::execvp(python.c_str(), arguments.data());
  throw InputError(python + ": cannot be started: " + std::strerror(errno) + "; set SHARDCTS_PYTHON");
}

}  // namespace shardcts
