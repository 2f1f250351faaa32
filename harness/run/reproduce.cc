#include "run/reproduce.h"

#include <cstdlib>

#include "run/run.h"

namespace shardcts {
namespace {

// Where Python finds the implementation's module; empty: it is no Python class, or nothing was said.
std::string PlaceOfModules(const ImplementationSpec& spec) {
  const char* folders = std::getenv("SHARDCTS_PYTHONPATH");
  if (folders == nullptr || !spec.source.starts_with("python:")) return "";
  return std::string("SHARDCTS_PYTHONPATH=") + ShellWord(folders) + " ";
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
  if (options.limits.test != PoolLimits{}.test) {
    command += " --timeout " + std::to_string(static_cast<double>(options.limits.test.count()) / 1000);
  }
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
