// One state dict in several versions, so that a checkpoint shows which save it is of. *Collective* where a World is.
#pragma once

#include <optional>
#include <string>

#include "suites/storage/worlds.h"

namespace shardcts::storage {

constexpr int kOldVersion = 1, kNewVersion = 2, kNextVersion = 3;

// Rows over the ranks, a replica, a plain value: in every version other values. Empty on ranks that are not in the world.
Dict VersionState(const Trial& t, const World& world, int version);

// What a folder loads as.
struct Loaded {
  bool refused = false;        // on every rank
  std::optional<int> version;  // every entry on every rank is of this one
  std::string text;            // "an error", "version 2", or what of which version is where
};

// *Collective*, the same on every rank.
Loaded WhatLoads(Trial& t, const World& world, const std::string& path);

// Saves the version. The text of the error on this rank; nothing: there was none.
std::optional<std::string> TrySave(Trial& t, const World& world, int version, const std::string& path,
                                   const SaveOptions& options = {});

// Whether storage.describe calls it complete; an error does not. *Local*.
bool IsDescribedComplete(Trial& t, const std::string& path);

}  // namespace shardcts::storage
