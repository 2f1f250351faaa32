#include "recording/script_phases.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "contract/nearest_name.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;

const std::set<std::string> kRoles = {"crash", "load", "save"};
const std::set<std::string> kPhaseKeys = {"world", "role", "seed", "implementation", "device", "steps", "truncated"};

[[noreturn]] void FailAt(const fs::path& file, size_t phase, const std::string& problem) {
  throw InputError(fmt::format("{}: phases[{}]: {}", file.string(), phase, problem));
}

Json PhaseScript(const Json& script, size_t index, const fs::path& file) {
  const Json& phase = script["phases"][index];
  if (!phase.is_object()) FailAt(file, index, "not an object");
  for (const auto& [key, value] : phase.items()) {
    if (!kPhaseKeys.contains(key)) FailAt(file, index, UnknownName("key", key, kPhaseKeys));
  }
  if (!phase.contains("world") || !phase["world"].is_number_integer()) FailAt(file, index, "\"world\" is missing or no number");
  Json one = script;
  one.erase("phases");
  one["role"] = index == 0 ? "save" : "load";
  one.update(phase);
  one["world_size"] = one["world"];
  one.erase("world");
  if (!one["role"].is_string()) FailAt(file, index, "\"role\" is no text");
  const std::string role = one["role"].get<std::string>();
  if (!kRoles.contains(role)) FailAt(file, index, UnknownName("role", role, kRoles));
  return one;
}

bool BelongsToName(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' || c == '.' || c == '+' || c == '='; }

// Every text of the value, not the keys of objects.
template <class Visit>
void ForEachText(Json& value, const Visit& visit) {
  if (value.is_string()) {
    std::string text = value.get<std::string>();
    if (visit(text)) value = std::move(text);
  } else if (value.is_structured()) {
    for (Json& item : value) ForEachText(item, visit);
  }
}

// Where the text has the folder, from `begin` on, and not one whose name only begins like it.
size_t FindFolder(const std::string& text, const std::string& folder, size_t begin) {
  for (size_t at = text.find(folder, begin); at != text.npos; at = text.find(folder, at + 1)) {
    const size_t end = at + folder.size();
    if (end == text.size() || !BelongsToName(text[end])) return at;
  }
  return text.npos;
}

}  // namespace

bool HasPhases(const Json& script) { return script.is_object() && script.contains("phases"); }

std::vector<Json> PhaseScripts(const Json& script, const fs::path& file) {
  if (!HasPhases(script)) return {script};
  const Json& phases = script["phases"];
  if (!phases.is_array() || phases.empty() || phases.size() > kMaxScriptPhases) {
    throw InputError(fmt::format("{}: \"phases\" is no list of 1 to {} phases", file.string(), kMaxScriptPhases));
  }
  for (const char* key : {"steps", "world_size"}) {
    if (script.contains(key)) throw InputError(fmt::format("{}: has \"phases\", so \"{}\" belongs into each of them", file.string(), key));
  }
  std::vector<Json> scripts;
  for (size_t index = 0; index < phases.size(); ++index) scripts.push_back(PhaseScript(script, index, file));
  return scripts;
}

std::vector<Json*> StepLists(Json& script) {
  std::vector<Json*> lists;
  if (!HasPhases(script)) return {&script.at("steps")};
  for (Json& phase : script["phases"]) lists.push_back(&phase.at("steps"));
  return lists;
}

void NameFolderInArguments(Json& value, const std::string& folder) {
  ForEachText(value, [&](std::string& text) {
    if (FindFolder(text, folder, 0) != 0) return false;
    text.replace(0, folder.size(), kFolderName);
    return true;
  });
}

void NameFolderInOutcome(Json& outcome, const std::string& folder) {
  ForEachText(outcome, [&](std::string& text) {
    const size_t first = FindFolder(text, folder, 0);
    for (size_t at = first; at != text.npos; at = FindFolder(text, folder, at)) text.replace(at, folder.size(), kFolderName);
    if (first == 0) text.insert(0, "$");  // or it would be a reference
    return first != text.npos;
  });
}

std::string ProblemOfFolderPath(const std::string& text) {
  const std::string name = kFolderName;
  if (!text.starts_with(name)) return fmt::format("\"{}\" is not {}", text.substr(0, text.find('}') + 1), name);
  const std::string rest = text.substr(name.size());
  if (!rest.empty() && rest.front() != '/') return fmt::format("after {} a path must begin with /", name);
  const fs::path path = rest;
  if (std::ranges::find(path, "..") != path.end()) return fmt::format("\"{}\" leaves the folder", text);
  if (rest.find('\0') != rest.npos) return "a path with a byte 0";
  return "";
}

}  // namespace shardcts
