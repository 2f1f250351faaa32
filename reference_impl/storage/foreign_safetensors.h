// Checkpoints that another program has written: a folder of safetensors files without a manifest. *Local*.
#pragma once

#include <string>

#include "storage/files.h"
#include "storage/manifest.h"

namespace shardcts::reference {

// What the headers of all *.safetensors in the folder say together: one chunk for each tensor of a file, at the offsets
// of its sharding information; a tensor is as large as its chunks reach. There are no digests. RuntimeError: no such
// files, a damaged header, chunks of one tensor that differ in dtype or do not tile it.
Manifest ManifestOfSafetensors(Files& files, const std::string& path);

}  // namespace shardcts::reference
