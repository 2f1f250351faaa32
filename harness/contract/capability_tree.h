// The tree of capabilities: "fsdp1.sharded" is a part of "fsdp1". Whoever declares a name has all of its parts but
// those that the declaration excludes, "-fsdp1.sharded"; whoever declares a part has the name itself, and of its other
// parts none. A test that needs a part needs the name, too. Everything here is *Local*.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "contract/nearest_name.h"

namespace shardcts {

// "fsdp1_optim.legacy" of "fsdp1_optim.legacy.optim_input"; empty: the name is a part of nothing.
inline std::string_view ParentCapability(std::string_view name) {
  const size_t dot = name.rfind('.');
  return dot == name.npos ? std::string_view() : name.substr(0, dot);
}

// The names, each after those that it is a part of. None stands twice.
inline std::vector<std::string> WithParentCapabilities(const std::vector<std::string>& names) {
  std::vector<std::string> all;
  for (const std::string& name : names) {
    for (size_t end = name.find('.');; end = name.find('.', end + 1)) {
      const std::string part = name.substr(0, end);
      if (!std::ranges::count(all, part)) all.push_back(part);
      if (end == name.npos) break;
    }
  }
  return all;
}

// Whether a declaration has the capability. The entry for the name itself or for the nearest name above it decides,
// else an entry below it.
inline bool DeclaresCapability(const std::vector<std::string>& declared, std::string_view name) {
  for (std::string_view at = name; !at.empty(); at = ParentCapability(at)) {
    if (std::ranges::count(declared, at)) return true;
    if (std::ranges::count(declared, "-" + std::string(at))) return false;
  }
  const std::string below = std::string(name) + ".";
  return std::ranges::any_of(declared, [&](const std::string& entry) { return entry.starts_with(below); });
}

// What is wrong with a declaration; nullopt: nothing. `known`: all capabilities of the contract.
inline std::optional<std::string> FindDeclarationProblem(const std::vector<std::string>& declared,
                                                         const std::vector<std::string>& known) {
  for (const std::string& entry : declared) {
    const bool excludes = entry.starts_with('-');
    const std::string name = entry.substr(excludes ? 1 : 0);
    if (!std::ranges::count(known, name)) return UnknownName("capability", name, known);
    std::string_view above = ParentCapability(name);
    while (!above.empty() && !std::ranges::count(declared, above) &&
           !std::ranges::count(declared, "-" + std::string(above))) {
      above = ParentCapability(above);
    }
    const bool is_below_declared = !above.empty() && std::ranges::count(declared, above);
    if (excludes && std::ranges::count(declared, name)) return "capability " + name + " is declared and excluded";
    if (excludes && !is_below_declared) {
      return "capability " + name + " is excluded, but is no part of anything that is declared";
    }
    if (!excludes && !above.empty() && !is_below_declared) {
      return "capability " + name + " is declared, but " + std::string(above) + " is excluded";
    }
  }
  return std::nullopt;
}

}  // namespace shardcts
