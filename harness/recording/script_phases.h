// Scripts and recordings with phases: several scripts that run one after another, each on ranks of its own, with one folder
// (docs/scripts.md, "Phases"). *Local*.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "contract/json_codec.h"

namespace shardcts {

inline constexpr size_t kMaxScriptPhases = 8;

bool HasPhases(const Json& script);

// Each phase as a script without phases, with its "role" (save, load; crash in recordings); a script without phases is
// the only element. Throws InputError naming `file` and the phase.
std::vector<Json> PhaseScripts(const Json& script, const std::filesystem::path& file);

// The lists of steps, of all phases. Throws nlohmann's exceptions.
std::vector<Json*> StepLists(Json& script);

// In what is recorded the folder of a test is called so, because another run has another one.
inline constexpr const char* kFolderName = "${folder}";

// In an argument: texts that are the folder, or a path in it, begin with kFolderName.
void NameFolderInArguments(Json& value, const std::string& folder);
// In an outcome: the folder is replaced wherever a text has it.
void NameFolderInOutcome(Json& outcome, const std::string& folder);

// What is wrong with a text that begins with "${"; empty: it names a path in the folder.
std::string ProblemOfFolderPath(const std::string& text);

}  // namespace shardcts
