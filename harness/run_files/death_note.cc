#include "run_files/death_note.h"

#include <sstream>

#include "run_files/file_text.h"

namespace shardcts {

std::filesystem::path DeathNote(const std::filesystem::path& test_folder) { return test_folder / "asked-death"; }

std::optional<int> ReadDeathNote(const std::filesystem::path& test_folder) {
  std::istringstream file(FileText(DeathNote(test_folder)));
  int rank = -1;
  return file >> rank && rank >= 0 ? std::optional(rank) : std::nullopt;
}

}  // namespace shardcts
