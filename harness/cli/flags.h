// Groups of command-line flags that several subcommands share. *Local*.
#pragma once

#include <CLI/CLI.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "inventory/selection.h"
#include "run/run.h"
#include "run_files/implementation_spec.h"

namespace shardcts {

// This program, as it was called.
std::string ProgramWord();
// What results say of the command, and the program of their reproduce commands: this program's command line.
void SetCommand(RunOptions& options);

// --suite --filter --world --max-world --shard
class SelectionFlags {
 public:
  void AddTo(CLI::App& command);
  // The selected tests of this build's inventories. Throws InputError.
  std::vector<TestCase> SelectTests() const;

 private:
  Selection selection_;
  std::string shard_;
};

// --waivers
class WaiverFlags {
 public:
  void AddTo(CLI::App& command);
  const std::vector<std::string>& Files() const { return files_; }
  // What the suites have recorded, then the files'. Throws InputError.
  std::vector<Waiver> Waivers() const;

 private:
  std::vector<std::string> files_;
};

// --impl --device
class ImplementationFlags {
 public:
  explicit ImplementationFlags(bool several) : several_(several) {}
  void AddTo(CLI::App& command);
  // In the order given, labels unique; --device holds for those that name no device. Throws InputError.
  std::vector<ImplementationSpec> Specs() const;

 private:
  const bool several_;
  std::vector<std::string> texts_;
  std::string device_;
};

// --load-with
class LoadWithFlag {
 public:
  void AddTo(CLI::App& command);
  // `any_loads`: there is a phase that loads. None: the flag is not given. Throws InputError.
  std::optional<ImplementationSpec> Spec(bool any_loads) const;

 private:
  std::string text_;
};

// --launcher --control-address --start --timeout --start-timeout --stop-timeout --stop-after-hangs --seed --trace: how
// rank pools are started and watched.
class PoolFlags {
 public:
  PoolFlags();
  void AddTo(CLI::App& command);
  // Fills in launcher, rank program, start, limits, seed and trace. Throws InputError when there is no rank program.
  void Apply(RunOptions& options) const;

 private:
  RunOptions defaults_;
  double timeout_seconds_ = 60;
  double start_timeout_seconds_ = 180;
  double stop_timeout_seconds_ = 3;
  std::string start_ = "warm";
  CLI::Option* launcher_ = nullptr;
  std::string rank_program_;  // empty: shardcts-rank next to this program
};

// --storage-root, --crash-points. Ranks find the latter in their environment.
class StorageFlags {
 public:
  void AddTo(CLI::App& command);
  // Absolute; empty: not given.
  std::filesystem::path Root() const;

 private:
  std::string root_;
};

// --jobs
class JobsFlag {
 public:
  void AddTo(CLI::App& command);
  // What was requested, or the default for this machine and the options' implementations and launcher.
  int Jobs(const RunOptions& options) const;

 private:
  int jobs_ = 0;  // 0: not given
};

// --out; when absent out/YYYYMMDD-HHMMSS (UTC).
class OutFlag {
 public:
  void AddTo(CLI::App& command);
  std::filesystem::path Folder() const;
  bool given() const { return !folder_.empty(); }

 private:
  std::string folder_;
  CLI::Option* option_ = nullptr;
};

}  // namespace shardcts
