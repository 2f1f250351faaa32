// Files of waivers (TOML; docs/formats.md, "Waivers"). *Local*.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "results/waivers.h"

namespace shardcts {

// The waivers of one file; `tests` are those that can be named. Throws InputError, "FILE:LINE: problem", for text that
// is not TOML, an unknown, missing or wrong field, a test or implementation that cannot be, and for a second waiver of
// the same test, implementation and device.
std::vector<Waiver> ParseWaivers(const std::string& text, const std::string& file_name,
                                 const std::vector<TestCase>& tests);

// What this build has recorded of its suites (suites/NAME/deviations.toml), then the files in their order. Throws
// InputError.
std::vector<Waiver> LoadWaivers(const std::vector<std::filesystem::path>& files);

}  // namespace shardcts
