// Which tests a run selects. *Local*.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "inventory/inventory.h"

namespace shardcts {

struct Selection {
  std::vector<std::string> suites;   // empty: all
  std::vector<std::string> filters;  // a test is selected when one of them matches; empty: all
  std::vector<int> world_sizes;      // empty: all; a test with phases needs those of all of its phases
  int max_world_size = 8;            // larger ones must be asked for in world_sizes or left out by it
  int shard_index = 1;               // 1 … shard_count: every shard_count-th of the tests that are left
  int shard_count = 1;
};

// `pattern` with wildcards (`*` any text, `?` any one character) must match the complete text; one without must be part
// of it.
bool FitsFilter(std::string_view pattern, std::string_view text);

// The same, but a pattern without wildcards must be the complete text, too.
bool FitsWhole(std::string_view pattern, std::string_view text);

// "2/4". Throws InputError.
void ParseShard(const std::string& text, Selection& selection);

// The selected tests in the order of `tests`. A filter that is exactly some test's id takes that test alone. Throws
// InputError when a suite is unknown, nothing is selected, a test needs more ranks than max_world_size, or this shard
// is empty.
std::vector<TestCase> Select(const std::vector<TestCase>& tests, const Selection& selection);

}  // namespace shardcts
