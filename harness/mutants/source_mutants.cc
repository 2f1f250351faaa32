#include "mutants/source_mutants.h"

#include <algorithm>

#include "run_files/input_error.h"
#include "run_files/json_file.h"

namespace shardcts {

std::vector<MutantInfo> ReadSourceMutants(const std::filesystem::path& table) {
  if (!std::filesystem::exists(table)) return {};
  std::vector<MutantInfo> infos;
  try {
    const nlohmann::ordered_json document = ReadJsonFile(table);
    for (const auto& row : document.at("mutants")) {
      infos.push_back({row.at("name"), row.at("description"), row.at("models"), row.at("suites"),
                       row.at("expected_checks"), row.at("min_world_size"), row.at("tests"), row.at("unnoticed")});
    }
  } catch (const nlohmann::json::exception& error) {
    throw InputError(table.string() + ": " + error.what());
  }
  std::ranges::sort(infos, {}, &MutantInfo::name);
  return infos;
}

}  // namespace shardcts
