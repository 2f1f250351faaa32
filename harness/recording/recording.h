// Scripts and recordings, as `exec`, `replay`, `parity` and `export` read them. *Local*.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "contract/json_codec.h"
#include "recording/blobs.h"

namespace shardcts {

struct Recording {
  Json script;                              // docs/formats.md; not checked beyond its form as JSON
  std::shared_ptr<const BlobSource> blobs;  // never null
};

// `path` is a recorded test in a run folder (OUT/traces/IMPL/TEST), a file that ExportRecording has written, or a
// script; a script's blobs are in the folder `blobs` next to it, if it needs any. Throws InputError naming file and
// position.
Recording ReadRecording(const std::filesystem::path& path);

// Whether a value is {"$blob": DIGEST, "tensors": N}: its text, which describes N tensors, is in that blob.
bool IsInBlob(const Json& value);
// The value itself, or the one in the blob.
Json ExpandValue(Json value, const BlobSource& blobs);

// One file with the script and all blobs that it needs. Throws InputError: `path` is no recording, a blob is damaged,
// `file` cannot be written.
void ExportRecording(const std::filesystem::path& path, const std::filesystem::path& file);

}  // namespace shardcts
