// Manifests of checkpoints of any format, with all that is wrong with them and not only the first thing. *Local*.
#pragma once

#include <string>

#include "storage/checkpoint.h"
#include "storage/complaints.h"
#include "storage/files.h"
#include "storage/manifest.h"

namespace shardcts::reference {

// As ReadManifest and ManifestFrom of those headers. What makes a part of it useless is a complaint; RuntimeError where
// nothing can be read. With complaints that are collected, chunks may be anything: nothing of them may be loaded.
Manifest ReadManifest(Files& files, const std::string& path, Complaints& complaints);
Manifest ManifestFrom(const std::string& text, const std::string& file_name, Complaints& complaints);

}  // namespace shardcts::reference
