// Mutants of the reference's own sources: bugs that no decorator can seed (harness/mutants/source/). *Local*.
#pragma once

#include <filesystem>
#include <vector>

#include "mutants/mutant.h"

namespace shardcts {

// Where the build puts the table of them, beside their library.
inline constexpr std::string_view kSourceMutantTable = "libshardcts_reference_mutants.json";

// Those of a table that schemata.py has written, sorted by name; none if there is no such file. Throws InputError.
std::vector<MutantInfo> ReadSourceMutants(const std::filesystem::path& table);

}  // namespace shardcts
