// --profile and --level: a frozen list of conformance/, as the selection of a run (docs/certification.md). *Local*.
#pragma once

#include <CLI/CLI.hpp>

#include <optional>
#include <string>
#include <vector>

#include "inventory/inventory.h"

namespace shardcts {

// What a profile asks of a run.
struct Profile {
  std::string name;                   // "fsdp2@1.0"
  std::vector<TestCase> tests;        // of its level, in the order of the inventory
  std::vector<std::string> required;  // capabilities that must be supported
};

class ProfileFlags {
 public:
  void AddTo(CLI::App& command);
  // Those of `selected` that are in the profile; none: --profile is not given. Throws InputError: an unknown profile, a
  // test of its list that this build lacks, nothing left.
  std::optional<Profile> Read(const std::vector<TestCase>& selected) const;

 private:
  std::string text_;  // NAME or NAME@VERSION
  std::string level_ = "full";
  CLI::Option* level_option_ = nullptr;
};

}  // namespace shardcts
