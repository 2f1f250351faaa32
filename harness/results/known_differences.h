// Known differences between the recordings of two implementations in tests that both pass: each with a reason, so that
// what parity counts is news. *Local*.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "inventory/selection.h"
#include "results/version_range.h"

namespace shardcts {

struct KnownDifference {
  std::string place;           // "FILE:LINE"
  std::string test;            // an id or a pattern
  std::string implementation;  // one of the two that are compared: a source or a pattern
  std::string reason;
  std::string evidence;  // a link or a file
  std::optional<VersionRange> versions;  // of this implementation; none: all
};

// One of the two that are compared, or what it is based on.
struct ComparedImplementation {
  std::string source;
  std::string version;
};

// The [[difference]] entries of a file; `tests` are those that can be named. InputError, "FILE:LINE: problem".
std::vector<KnownDifference> ParseKnownDifferences(const std::string& text, const std::string& file_name,
                                                   const std::vector<TestCase>& tests);

// What this build has recorded of its suites (suites/NAME/deviations.toml).
std::vector<KnownDifference> LoadKnownDifferences();

// The first that names this test and one of the implementations in its version; null: none.
const KnownDifference* FindKnownDifference(const std::vector<KnownDifference>& known, const TestCase& test,
                                           const std::vector<ComparedImplementation>& implementations);

}  // namespace shardcts
