// EarlierRun: what the results.json of a run folder says about the run that wrote it, for going on with it.
// *Local*.
#pragma once

#include <nlohmann/json.hpp>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "results/verdict.h"
#include "run_files/implementation_spec.h"

namespace shardcts {

struct RunOptions;

class EarlierRun {
 public:
  // Throws InputError naming the file, and the position in it, when it holds no run.
  explicit EarlierRun(const std::filesystem::path& run_folder);

  // Fills in what a run is: implementations, tests, seed, pool, repetitions, required capabilities, waivers, command.
  // Throws InputError when this build has not all of its tests, or a waiver file is gone.
  void FillIn(RunOptions& options) const;

  // Throws InputError naming the first difference when `results`, as a run writes them at its begin, are of another
  // run.
  void RequireSame(const nlohmann::ordered_json& results) const;

  // Crash, hang or harness error: what the controller saw of the recording (a test, or a repetition of it) in this pool
  // and no event file says.
  std::optional<Incident> IncidentOf(const std::string& label, const std::string& recording,
                                     const std::string& pool_folder) const;

  // What was said of the implementation's warm start; null: nothing.
  nlohmann::ordered_json WarmOf(const std::string& label) const;
  double seconds() const { return seconds_; }
  const std::string& started() const { return started_; }

 private:
  struct Seen {
    Incident incident;
    std::string pool_folder;  // relative to the run folder
  };

  void Read(const nlohmann::ordered_json& results);
  void ReadTest(const nlohmann::ordered_json& test);
  void Note(const std::string& label, const std::string& recording, const nlohmann::ordered_json& outcome,
            const nlohmann::ordered_json& waiver);

  std::filesystem::path file_;
  nlohmann::ordered_json identity_;
  std::vector<ImplementationSpec> implementations_;
  std::optional<ImplementationSpec> load_with_;
  std::map<std::string, std::vector<std::string>> tests_;  // label -> ids
  std::map<std::string, nlohmann::ordered_json> warm_;     // by label
  std::string command_;
  std::string started_;
  double seconds_ = 0;
  std::map<std::pair<std::string, std::string>, Seen> seen_;  // label, recording
};

}  // namespace shardcts
