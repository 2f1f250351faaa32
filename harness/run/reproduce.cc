#include "run/reproduce.h"

#include <chrono>
#include <cstdlib>
#include <sstream>

#include "run/run.h"

namespace shardcts {
namespace {

// Where Python finds the implementation's module; empty: it is no Python class, or nothing was said.
std::string PlaceOfModules(const ImplementationSpec& spec) {
  const char* folders = std::getenv("SHARDCTS_PYTHONPATH");
  if (folders == nullptr || !spec.source.starts_with("python:")) return "";
  return std::string("SHARDCTS_PYTHONPATH=") + ShellWord(folders) + " ";
}

std::string Seconds(const char* flag, std::chrono::milliseconds given, std::chrono::milliseconds otherwise) {
  if (given == otherwise) return "";
  std::ostringstream text;
  text << " " << flag << " " << static_cast<double>(given.count()) / 1000;
  return text.str();
}

// How the ranks were started and how long they had, where that is not the default.
std::string FlagsOfPools(const RunOptions& options) {
  const PoolLimits defaults;
  std::string flags;
  if (options.pool_mode == PoolMode::kFresh) flags += " --pool fresh";
  if (options.start_mode == StartMode::kCold) flags += " --start cold";
  if (!options.launcher.empty()) flags += " --launcher " + ShellWord(options.launcher);
  if (!options.control_address.empty()) flags += " --control-address " + ShellWord(options.control_address);
  return flags + Seconds("--timeout", options.limits.test, defaults.test) +
         Seconds("--start-timeout", options.limits.start, defaults.start) +
         Seconds("--stop-timeout", options.limits.stop_peers, defaults.stop_peers);
}

}  // namespace

std::string ReproduceCommand(const RunOptions& options, const ImplementationSpec& spec, const TestCase& test) {
  // The label is a text that --impl takes.
  std::string command = PlaceOfModules(spec) + options.program;
  if (options.scripts.empty()) {
    command += " run --impl " + ShellWord(spec.label) + " --filter " + ShellWord(test.id) + " --seed " +
               std::to_string(options.seed);
  } else {
    command += " exec " + ShellWord((options.scripts / (test.function + ".json")).string()) + " --impl " +
               ShellWord(spec.label);
  }
  if (options.trace != RunOptions{}.trace) command += " --trace " + options.trace;
  command += FlagsOfPools(options);
  if (options.repeat > 1) command += " --repeat " + std::to_string(options.repeat);
  for (const std::string& capability : options.required_capabilities) command += " --require " + ShellWord(capability);
  if (options.require_should) command += " --require-should";
  if (options.load_with && !test.phases.empty()) command += " --load-with " + ShellWord(options.load_with->label);
  if (!options.storage_root.empty() && !test.phases.empty()) {
    command += " --storage-root " + ShellWord(options.storage_root.string());
  }
  const char* points = std::getenv("SHARDCTS_CRASH_POINTS");  // --crash-points
  if (points != nullptr && !test.phases.empty()) command += " --crash-points " + ShellWord(points);
  for (const std::string& file : options.waiver_files) command += " --waivers " + ShellWord(file);
  return command + " --out out/reproduce";
}

std::string ShellWord(const std::string& text) {
  const std::string kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:/@%";
  if (!text.empty() && text.find_first_not_of(kPlain) == text.npos) return text;
  std::string quoted = "'";
  for (char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace shardcts
