#include "suites/storage/versions.h"

#include <ATen/ATen.h>

#include "rank/session.h"
#include "suites/rules/coded.h"
#include "suites/storage/placed.h"

namespace shardcts::storage {
namespace {

// Coded values of a version begin where those of the one before end.
constexpr int64_t kValuesOfVersion = 1 << 14;

// "2" when the entry is that of version 2, "-" when it is of none.
std::string VersionOf(const Value& loaded, const std::string& name, const std::vector<Dict>& versions) {
  for (size_t version = 0; version < versions.size(); ++version) {
    if (SameValue(name, versions[version].At(name), loaded).ok) return std::to_string(version);
  }
  return "-";
}

// What this rank has loaded: an error, or the version of each entry; nothing on a rank that is not in the world.
std::vector<std::string> LoadedHere(Trial& t, const World& world, const std::string& path,
                                    const std::vector<Dict>& versions) {
  std::vector<std::string> lines;
  try {
    const bool takes_part = world.Has(t.rank());
    const Dict loaded = world.Load(takes_part ? VersionState(t, world, 0) : Dict(), path);
    if (!takes_part) return {};
    for (const auto& [name, value] : versions.front()) {
      const Value* found = loaded.Find(name);
      lines.push_back(ToString(name) + " " + (found ? VersionOf(*found, ToString(name), versions) : "missing"));
    }
  } catch (const OperationFailed&) {
    lines.push_back("an error");
  }
  return lines;
}

}  // namespace

Dict VersionState(const Trial& t, const World& world, int version) {
  if (!world.Has(t.rank())) return {};
  const int64_t offset = 2 + version * kValuesOfVersion;
  return {{"weight", PartOf(rules::Coded({50, 40}, 0, offset), world.layout(), PlacementsOf("S0"), t.rank())},
          {"bias", PartOf(rules::Coded({300}, 1, offset), world.layout(), PlacementsOf("R"), t.rank())},
          {"other", PartOf(rules::Coded({30, 4}, 2, offset), world.layout(), PlacementsOf("S0"), t.rank())},
          {"step", int64_t{version}}};
}

Loaded WhatLoads(Trial& t, const World& world, const std::string& path) {
  std::vector<Dict> versions;
  for (int version = 0; version <= kNextVersion && world.Has(t.rank()); ++version) {
    versions.push_back(VersionState(t, world, version));
  }
  List lines;
  for (const std::string& line : LoadedHere(t, world, path, versions)) lines.push_back(line);
  std::map<std::string, std::vector<std::string>> where;  // what ends the line -> whole lines
  for (const Value& of_rank : t.AllGather(lines)) {
    for (const Value& line : of_rank.AsList()) {
      const std::string& text = line.AsString();
      where[text.substr(text.rfind(' ') + 1)].push_back(text);
    }
  }
  if (where.size() == 1 && where.begin()->first == "error") return {true, std::nullopt, "an error"};
  if (where.size() == 1 && where.begin()->first != "-" && where.begin()->first != "missing") {
    return {false, std::stoi(where.begin()->first), "version " + where.begin()->first};
  }
  std::string text = "a mix";
  for (const auto& [version, found] : where)
    text += fmt::format(", {} times of {}: {}", found.size(), version, found.front());
  return {false, std::nullopt, text};
}

std::optional<std::string> TrySave(Trial& t, const World& world, int version, const std::string& path,
                                   const SaveOptions& options) {
  try {
    world.Save(VersionState(t, world, version), path, options);
  } catch (const OperationFailed& failure) {
    return failure.what();
  }
  return std::nullopt;
}

bool IsDescribedComplete(Trial& t, const std::string& path) {
  try {
    return DescribeCheckpoint(t.caller(), path).complete;
  } catch (const OperationFailed&) {
    return false;
  }
}

}  // namespace shardcts::storage
