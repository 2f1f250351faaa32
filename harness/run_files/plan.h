// Plan: what one rank pool has to run, as the controller writes it and its ranks read it: POOL/plan.json
// (docs/formats.md). *Local*, needs no LibTorch.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "run_files/implementation_spec.h"

namespace shardcts {

// Which part of a test with phases the ranks run, and where.
struct PlannedPhase {
  size_t index = 0;              // from 0
  std::filesystem::path folder;  // of the test, for all of its phases; absolute, made by the controller
  std::string role = "save";     // or "load"
};

struct Plan {
  ImplementationSpec implementation;
  int world_size = 1;
  std::string host;                       // the controller's
  bool launched = false;                  // the ranks are started by a launcher of the user, maybe on several hosts
  uint64_t seed = 1234;
  std::string trace = "inline";           // "digest", "inline", "full"
  double test_timeout_seconds = 60;
  std::filesystem::path run_folder;       // all absolute
  std::filesystem::path pool_folder;
  std::filesystem::path trace_folder;
  std::vector<std::string> tests;         // ids; one may occur several times
  std::vector<std::string> recordings;    // the name of the trace of each
  std::vector<std::optional<PlannedPhase>> phases;  // of each; none: the test has no phases
  std::string under_test;                 // label of the implementation whose tests these are; empty: this one
  std::filesystem::path script;           // not empty: run this file instead of tests, as the one test "script"
};

nlohmann::ordered_json ToJson(const ImplementationSpec& spec);
// Throws nlohmann's exceptions.
ImplementationSpec ImplementationFromJson(const nlohmann::ordered_json& json);

std::filesystem::path PlanFile(const std::filesystem::path& pool_folder);
// Makes the pool's folder and its traces' when they are missing. Throws InputError naming the file.
void WritePlan(const Plan& plan);
// Throws InputError naming the file and the position.
Plan ReadPlan(const std::filesystem::path& file);

}  // namespace shardcts
