// Checkpoints that another program has written: a folder of safetensors files without a manifest. *Local*.
#pragma once

#include <string>
#include <vector>

#include "storage/complaints.h"
#include "storage/files.h"
#include "storage/manifest.h"

namespace shardcts::reference {

// Says in which file of a folder each tensor is.
constexpr const char* kSafetensorsIndex = "model.safetensors.index.json";

// What the headers of all *.safetensors in the folder say together: one chunk for each tensor of a file, at the offsets
// of its sharding information; a tensor is as large as its chunks reach. There are no digests. RuntimeError: no such
// files. Complaints: a damaged header, chunks of one tensor that differ in dtype or do not tile it, a file that the
// numbers in the other files' names promise.
Manifest ManifestOfSafetensors(Files& files, const std::string& path, Complaints& complaints);

// The same of these files in the folder.
Manifest ManifestOfSafetensors(Files& files, const std::string& path, const std::vector<std::string>& names,
                               Complaints& complaints);

// The names of all *.safetensors in the folder, sorted. OSError: there is no such folder.
std::vector<std::string> SafetensorsIn(Files& files, const std::string& path);

// Complaints: the index, if there is one, is damaged, names a tensor or a file that is not there or
// in which the tensor is not, lacks a tensor, or has another total size.
void CheckSafetensorsIndex(Files& files, const std::string& path, const Manifest& manifest, Complaints& complaints);

}  // namespace shardcts::reference
