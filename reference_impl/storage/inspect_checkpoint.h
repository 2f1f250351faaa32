// Looking at a checkpoint that nobody vouches for: what it has, what is wrong with it, what is strange. No tensor is
// loaded, nothing of it is run, and no path of it leaves its folder. *Local*.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "storage/checkpoint.h"
#include "storage/files.h"
#include "storage/manifest.h"

namespace shardcts::reference {

struct CheckpointReport {
  CheckpointFormat format = CheckpointFormat::kOwn;
  bool readable = false;               // the manifest has been read
  Manifest manifest;                   // what could be read of it
  std::vector<std::string> problems;   // at most Complaints::kMost, as notes
  std::vector<std::string> notes;      // no reason not to load
};

// `with_data`: the bytes of the tensors are read and compared with their checksums, 8 MiB at a time. Never throws.
CheckpointReport InspectCheckpoint(Files& files, const std::string& path, bool with_data);

// A single file of safetensors, as a checkpoint of its tensors.
CheckpointReport InspectSafetensorsFile(Files& files, const std::string& folder, const std::string& name);

// "xxh3", "crc32", or "": nobody has made any.
std::string ChecksumOf(const SavedChunk& chunk);

}  // namespace shardcts::reference
