#include "cli/profile.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "contract/nearest_name.h"
#include "run_files/foreign_text.h"
#include "run_files/input_error.h"
#include "run_files/json_file.h"
#include "run_files/program_folder.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr uintmax_t kMaxListBytes = 64 << 20;

// "1.10" is newer than "1.9".
std::vector<int> Numbers(const std::string& version) {
  std::vector<int> numbers;
  std::string digits;
  for (char c : version + ".") {
    if (c >= '0' && c <= '9' && digits.size() < 6) {
      digits += c;
    } else if (c == '.' && !digits.empty()) {
      numbers.push_back(std::stoi(digits));
      digits.clear();
    } else {
      return {};
    }
  }
  return numbers;
}

std::vector<std::string> NamesIn(const fs::path& folder, bool folders) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (folders && entry.is_directory()) names.push_back(entry.path().filename().string());
    if (!folders && entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  }
  return names;
}

fs::path ListFile(const std::string& text) {
  const fs::path conformance = DataFile("conformance", SHARDCTS_CONFORMANCE_FOLDER);
  std::vector<std::string> versions = NamesIn(conformance, true);
  std::erase_if(versions, [](const std::string& name) { return Numbers(name).empty(); });
  if (versions.empty()) throw InputError(conformance.string() + ": holds no version");
  const size_t at = text.find('@');
  const std::string name = text.substr(0, at);
  const std::string version = at != text.npos ? text.substr(at + 1) : *std::ranges::max_element(versions, {}, Numbers);
  if (!std::ranges::count(versions, version)) {
    throw InputError("--profile " + text + ": " + UnknownName("version", version, versions));
  }
  const std::vector<std::string> names = NamesIn(conformance / version, false);
  if (!std::ranges::count(names, name)) {
    throw InputError("--profile " + text + ": " + UnknownName("profile", name, names));
  }
  return conformance / version / (name + ".json");
}

// The ids of the list that are in this level.
std::set<std::string> IdsOf(const Json& list, const std::string& level) {
  const int max_world = list.at("levels").at(level).get<int>();
  std::set<std::string> ids;
  for (const Json& test : list.at("tests")) {
    const Json& worlds = test.at(1);
    const int world = worlds.is_array() ? std::ranges::max(worlds.get<std::vector<int>>()) : worlds.get<int>();
    if (world <= max_world) ids.insert(test.at(0).get<std::string>());
  }
  return ids;
}

}  // namespace

void ProfileFlags::AddTo(CLI::App& command) {
  command
      .add_option("--profile", text_,
                  "only the tests of this frozen list (docs/certification.md), and its capabilities must be supported")
      ->type_name("NAME[@VERSION]");
  level_option_ = command.add_option("--level", level_, "of the profile: core, or full with all world sizes")
                      ->capture_default_str()
                      ->check(CLI::IsMember({"core", "full"}));
}

std::optional<Profile> ProfileFlags::Read(const std::vector<TestCase>& selected) const {
  if (text_.empty()) {
    if (level_option_->count() > 0) throw InputError("--level: is for --profile");
    return std::nullopt;
  }
  const fs::path file = ListFile(text_);
  const Json list = ReadJsonFile(file, kMaxListBytes);
  try {
    Profile profile;
    profile.name = list.at("profile").get<std::string>() + "@" + list.at("conformance").get<std::string>();
    profile.required = list.at("capabilities").get<std::vector<std::string>>();
    const std::set<std::string> ids = IdsOf(list, level_);
    std::set<std::string> unknown = ids;
    for (const TestCase& test : AllTests()) unknown.erase(test.id);
    if (!unknown.empty()) {
      throw InputError(file.string() + ": this build has no test \"" + Bounded(*unknown.begin(), 200) + "\"");
    }
    std::ranges::copy_if(selected, std::back_inserter(profile.tests),
                         [&](const TestCase& test) { return ids.contains(test.id); });
    if (profile.tests.empty()) throw InputError("--profile " + text_ + ": has none of the selected tests");
    return profile;
  } catch (const Json::exception& error) {
    throw InputError(file.string() + ": " + error.what());
  }
}

}  // namespace shardcts
