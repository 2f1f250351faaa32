#include "rank/script_tests.h"

#include <algorithm>
#include <map>

#include "recording/recording.h"
#include "run_files/input_error.h"
#include "run_files/plan.h"
#include "run_files/run_folder.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSuite = "scripts";

std::vector<fs::path> ScriptFiles(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file() && entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

}  // namespace

TestCase AsTest(const std::vector<Script>& scripts, const std::string& id) {
  TestCase test;
  test.id = id;
  test.params = nlohmann::ordered_json::object();
  test.world_size = scripts.front().world_size;
  for (const Script& script : scripts) {
    if (script.role.empty()) continue;
    test.phases.push_back({.index = test.phases.size(), .role = script.role, .world_size = script.world_size});
    test.world_size = std::max(test.world_size, script.world_size);
  }
  return test;
}

bool HoldsScripts(const fs::path& folder) { return fs::is_directory(folder) && !ScriptFiles(folder).empty(); }

std::vector<TestCase> TestsOfScripts(const fs::path& folder) {
  std::vector<TestCase> tests;
  std::map<std::string, fs::path> recordings;  // by their folder
  for (const fs::path& file : ScriptFiles(folder)) {
    const auto [other, is_new] = recordings.emplace(FolderName(file.stem().string()), file);
    if (!is_new) {
      throw InputError(other->second.string() + " and " + file.string() +
                       ": these names differ in signs only that names of recordings do not have; rename one");
    }
    const std::string name = file.stem().string();
    TestCase test = AsTest(ReadScripts(ReadRecording(file), file.string()), std::string(kSuite) + "/" + name);
    test.suite = kSuite;
    test.function = test.upstream_id = name;
    tests.push_back(std::move(test));
  }
  return tests;
}

bool PlansScriptTests(const Plan& plan) {
  return !plan.script.empty() && plan.tests != std::vector<std::string>{"script"};
}

std::vector<Script> ReadScriptOfTest(const fs::path& folder, const std::string& id) {
  const fs::path file = folder / (id.substr(id.find('/') + 1) + ".json");
  return ReadScripts(ReadRecording(file), file.string());
}

}  // namespace shardcts
