// Scripts as tests of a run: one script, or all of a folder. *Local*.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "inventory/inventory.h"
#include "rank/script.h"

namespace shardcts {

struct Plan;

// What a run knows of a script (or of its phases, as ReadScripts gives them): no checks, no capabilities.
TestCase AsTest(const std::vector<Script>& scripts, const std::string& id);

// A folder of scripts, which is no recording.
bool HoldsScripts(const std::filesystem::path& folder);

// The scripts FOLDER/NAME.json by name, each as the test "scripts/NAME". Throws InputError for what is wrong with one.
std::vector<TestCase> TestsOfScripts(const std::filesystem::path& folder);

// Whether the plan's tests are scripts of a folder.
bool PlansScriptTests(const Plan& plan);

// The script of a test of TestsOfScripts. Throws InputError.
std::vector<Script> ReadScriptOfTest(const std::filesystem::path& folder, const std::string& id);

}  // namespace shardcts
