#include "run_files/implementation_spec.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <utility>
#include <vector>

#include "contract/nearest_name.h"
#include "run_files/foreign_text.h"
#include "run_files/input_error.h"
#include "run_files/shipped_implementations.h"

namespace shardcts {
namespace {

constexpr std::string_view kMutantSuffix = "+mutant=";

std::string Possible() { return "possible: " + PossibleImplementations() + ", each with +mutant=NAME and ,key=value"; }

[[noreturn]] void Fail(std::string_view text, const std::string& problem) {
  throw InputError("--impl " + std::string(text) + ": " + problem);
}

std::vector<std::string> SplitAtCommas(std::string_view text) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (size_t comma = text.find(','); comma != text.npos; comma = text.find(',', begin)) {
    parts.emplace_back(text.substr(begin, comma - begin));
    begin = comma + 1;
  }
  parts.emplace_back(text.substr(begin));
  return parts;
}

// A Python identifier, or several joined by dots.
bool IsDottedName(std::string_view name) {
  bool at_start = true;
  for (char c : name) {
    if (c == '.') {
      if (at_start) return false;
      at_start = true;
      continue;
    }
    const bool digit = std::isdigit(static_cast<unsigned char>(c)) != 0;
    if (!(std::isalpha(static_cast<unsigned char>(c)) || c == '_' || (digit && !at_start))) return false;
    at_start = false;
  }
  return !at_start;
}

bool IsPythonSource(std::string_view name) {
  constexpr std::string_view kPrefix = "python:";
  if (!name.starts_with(kPrefix)) return false;
  const std::string_view rest = name.substr(kPrefix.size());
  const size_t colon = rest.find(':');
  return colon != rest.npos && IsDottedName(rest.substr(0, colon)) && IsDottedName(rest.substr(colon + 1));
}

std::string ToSource(std::string_view text, const std::string& name) {
  if (FindShipped(name) || IsPythonSource(name)) return name;
  if (name.ends_with(".so")) return std::filesystem::absolute(name).lexically_normal().string();
  if (name.starts_with("python:")) Fail(text, "'" + name + "' is not python:MODULE:CLASS");
  Fail(text, "unknown implementation '" + name + "'; " + Possible());
}

// SHARDCTS_WITHOUT_MPI: MPI was not there when ShardCTS was built.
void CheckThatMpiIsThere(std::string_view text, const ImplementationSpec& spec) {
#ifdef SHARDCTS_WITHOUT_MPI
  const auto comm = spec.options.find("comm");
  if (comm == spec.options.end() || comm->second != "mpi") return;
  Fail(text, "comm=mpi: ShardCTS was built without MPI; install MPICH (package mpich of Debian or PyPI) and build again");
#else
  (void)text, (void)spec;
#endif
}

// Only shipped implementations have options that are known here.
void CheckOptions(std::string_view text, const ImplementationSpec& spec) {
  const ShippedImplementation* shipped = FindShipped(spec.source);
  if (!shipped) return;
  for (const auto& [name, value] : spec.options) {
    if (std::ranges::find(shipped->options, name) != shipped->options.end()) continue;
    std::vector<std::string_view> known = shipped->options;
    known.push_back("device");
    Fail(text, UnknownName("option", name, known));
  }
}

void ReadOption(std::string_view text, const std::string& option, ImplementationSpec& spec, bool& has_device) {
  const size_t equals = option.find('=');
  if (equals == option.npos || equals == 0) Fail(text, "option '" + option + "' is not key=value");
  const std::string key = option.substr(0, equals);
  const std::string value = option.substr(equals + 1);
  if (value.empty()) Fail(text, "option '" + key + "' has no value");
  if (key == "mutant") Fail(text, "a mutant belongs to the name: NAME+mutant=" + value);
  if (key.starts_with("python_")) Fail(text, "option '" + key + "' is set by the harness; use python:MODULE:CLASS");
  const bool repeated = key == "device" ? std::exchange(has_device, true) : !spec.options.emplace(key, value).second;
  if (repeated) Fail(text, "option '" + key + "' is given twice");
  if (key == "device") spec.device = value;
}

std::string ToLabel(const std::string& name, const ImplementationSpec& spec) {
  std::string label = name;
  if (spec.mutant) label += std::string(kMutantSuffix) + *spec.mutant;
  if (spec.device != "cpu") label += ",device=" + spec.device;
  for (const auto& [key, value] : spec.options) label += "," + key + "=" + value;
  return label;
}

}  // namespace

ImplementationSpec ParseImplementationSpec(std::string_view text) {
  if (text.size() > kMaxNameBytes) {
    Fail(text.substr(0, 60), "longer than " + std::to_string(kMaxNameBytes) + " bytes");
  }
  if (!IsUtf8(text)) throw InputError("--impl: is not UTF-8");
  const std::vector<std::string> parts = SplitAtCommas(text);
  ImplementationSpec spec;
  std::string name = parts.front();
  if (const size_t suffix = name.rfind(kMutantSuffix); suffix != name.npos) {
    spec.mutant = name.substr(suffix + kMutantSuffix.size());
    name.resize(suffix);
    if (spec.mutant->empty()) Fail(text, "+mutant= names no mutant");
  }
  if (name.empty()) Fail(text, "no implementation is named; " + Possible());
  spec.source = ToSource(text, name);
  bool has_device = false;
  for (size_t i = 1; i < parts.size(); ++i) ReadOption(text, parts[i], spec, has_device);
  CheckOptions(text, spec);
  CheckThatMpiIsThere(text, spec);
  spec.label = ToLabel(name, spec);
  return spec;
}

}  // namespace shardcts
