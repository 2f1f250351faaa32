#include "results/environment.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>

#include "process/process.h"
#include "run_files/program_folder.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::chrono::milliseconds kProgramLimit{5000};

// The text after `separator` in the first line that begins with `prefix`; empty when there is none.
std::string FindEntry(std::istream& stream, const std::string& prefix, char separator) {
  for (std::string line; std::getline(stream, line);) {
    const size_t begin = line.find_first_not_of(" \t");
    if (begin == line.npos || line.compare(begin, prefix.size(), prefix) != 0) continue;
    const size_t place = line.find(separator);
    if (place == line.npos) continue;
    const size_t value = line.find_first_not_of(" \t\"", place + 1);
    if (value == line.npos) continue;
    return line.substr(value, line.find_last_not_of(" \t\"\r") - value + 1);
  }
  return "";
}

std::string FileEntry(const std::string& file, const std::string& prefix, char separator) {
  std::ifstream stream(file);
  return FindEntry(stream, prefix, separator);
}

Json NullIfEmpty(const std::string& text) { return text.empty() ? Json() : Json(text); }

std::string OperatingSystem() {
  utsname name{};
  ::uname(&name);
  const std::string kernel = std::string(name.sysname) + " " + name.release + " " + name.machine;
  const std::string pretty = FileEntry("/etc/os-release", "PRETTY_NAME", '=');
  return pretty.empty() ? kernel : pretty + ", " + kernel;
}

Json MemoryGib() {
  const double bytes = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE));
  return std::round(bytes / (1 << 30) * 10) / 10;
}

void AddGpu(Json& environment) {
  const auto output =
      CaptureOutput({"nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"}, kProgramLimit);
  if (!output) return;
  std::istringstream lines(*output);
  std::string names;
  for (std::string line; std::getline(lines, line);) {
    const size_t comma = line.rfind(", ");
    if (comma == line.npos) continue;
    names += (names.empty() ? "" : "; ") + line.substr(0, comma);
    environment["driver"] = line.substr(comma + 2);
  }
  environment["gpu"] = NullIfEmpty(names);
}

Json MpiVersion(const std::string& launcher) {
  const std::string program = launcher.substr(0, launcher.find(' '));
  const auto output = CaptureOutput({program, "--version"}, kProgramLimit);
  if (!output) return {};
  std::istringstream hydra(*output);
  const std::string version = FindEntry(hydra, "Version:", ':');
  if (!version.empty()) return "MPICH " + version;
  return NullIfEmpty(output->substr(0, output->find('\n')));
}

}  // namespace

Json CaptureEnvironment(const std::string& launcher) {
  Json environment = {
      {"os", OperatingSystem()},
      {"cpu", NullIfEmpty(FileEntry("/proc/cpuinfo", "model name", ':'))},
      {"cores", std::thread::hardware_concurrency()},
      {"memory_gib", MemoryGib()},
      {"gpu", nullptr},
      {"driver", nullptr},
      {"mpi", MpiVersion(launcher)},
      {"nccl", nullptr},
      {"torch", nullptr},
      {"python", nullptr},
      {"compiler", "GCC " __VERSION__},
  };
  AddGpu(environment);
  return environment;
}

void AddImplementationNotes(const Json& implementation, Json& environment) {
  if (!implementation.is_object() || !implementation.contains("notes")) return;
  const Json& notes = implementation["notes"];
  for (const char* key : {"torch", "python", "nccl"}) {
    if (notes.is_object() && notes.contains(key) && environment[key].is_null()) environment[key] = notes[key];
  }
}

std::string SuiteCommit() {
  std::ifstream installed(DataFile("commit", ""));
  std::string written;
  if (std::getline(installed, written)) return written;
  const auto commit = CaptureOutput({"git", "-C", SHARDCTS_SOURCE_FOLDER, "rev-parse", "HEAD"}, kProgramLimit);
  if (!commit) return "";
  const auto changes =
      CaptureOutput({"git", "-C", SHARDCTS_SOURCE_FOLDER, "status", "--porcelain", "-uno"}, kProgramLimit);
  return commit->substr(0, commit->find('\n')) + (changes && !changes->empty() ? "-dirty" : "");
}

}  // namespace shardcts
