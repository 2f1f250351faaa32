// Runs a script, or its phases one after another, on rank pools. *Local*.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "rank/script.h"
#include "results/verdict.h"
#include "run/run.h"

namespace shardcts {

struct ScriptRun {
  Verdict verdict = Verdict::kNotRun;
  std::string reason;
  std::vector<Failure> failures;  // of all ranks
  std::filesystem::path trace;    // empty: nothing was recorded
};

// `options`: the implementation under test, that of phases that load, and how pools are started. `scripts`: as ReadScripts
// gives them. `folder`: the run folder, absolute and locked. Throws InputError.
ScriptRun RunScripts(const RunOptions& options, const std::vector<Script>& scripts, const std::filesystem::path& folder);

}  // namespace shardcts
