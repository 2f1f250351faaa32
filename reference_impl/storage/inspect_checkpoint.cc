#include "storage/inspect_checkpoint.h"

#include <algorithm>
#include <set>

#include "storage/complaints.h"
#include "storage/dcp_checkpoint.h"
#include "storage/dcp_metadata.h"
#include "storage/foreign_safetensors.h"
#include "storage/read_chunks.h"
#include "storage/read_manifest.h"
#include "storage/safetensors.h"

namespace shardcts::reference {
namespace {

// That the file of one save has what the manifest says of it.
void CheckHeaders(SavedFiles& saved_files, const Manifest& manifest, Complaints& complaints) {
  std::map<std::string, std::map<std::string, SafetensorsEntry>> headers;
  for (const auto& [name, size] : manifest.files) {
    complaints.Try([&] { headers[name] = ReadSafetensorsHeader(saved_files.Get(name), saved_files.PathOf(name)); });
  }
  for (const auto& [name, tensor] : manifest.tensors) {
    for (const SavedChunk& chunk : tensor.chunks) {
      const auto header = headers.find(chunk.file);
      if (header == headers.end()) continue;  // its file has been complained about
      const auto entry = header->second.find(name);
      if (entry == header->second.end()) {
        complaints.Problem("\"" + name + "\": is not in " + saved_files.PathOf(chunk.file));
      } else if (entry->second.begin != chunk.begin || entry->second.end != chunk.end) {
        complaints.Problem("\"" + name + "\": lies elsewhere in " + saved_files.PathOf(chunk.file));
      }
    }
  }
}

// A file that cannot be read is one problem, not one for each chunk.
void CheckData(SavedFiles& saved_files, const Manifest& manifest, Complaints& complaints) {
  std::set<std::string> broken;
  for (const auto& [name, size] : manifest.files) {
    if (!complaints.Try([&] { saved_files.Get(name); })) broken.insert(name);
  }
  for (const auto& [name, tensor] : manifest.tensors) {
    for (const SavedChunk& chunk : tensor.chunks) {
      if (chunk.file.empty() || broken.contains(chunk.file)) continue;
      complaints.Try([&] { CheckDigest(saved_files, name, chunk); });
    }
  }
}

void NoteChecksums(const Manifest& manifest, Complaints& complaints) {
  int64_t without = 0;
  for (const auto& [name, tensor] : manifest.tensors) {
    without += std::ranges::count_if(tensor.chunks, [](const SavedChunk& chunk) {
      return ChecksumOf(chunk).empty() && chunk.end > chunk.begin;
    });
  }
  if (without > 0)
    complaints.Note(std::to_string(without) + " chunks have no checksum: changed data would not be noticed");
}

// The names right below the folder that the checkpoint uses.
std::set<std::string> OwnNames(const Manifest& manifest) {
  std::set<std::string> names{kManifestName, kDcpMetadataName, kSafetensorsIndex};
  if (!manifest.folder.empty()) names.insert(manifest.folder);
  if (manifest.folder.empty()) {
    for (const auto& [file, size] : manifest.files) names.insert(file.substr(0, file.find('/')));
  }
  return names;
}

void NoteStrangers(Files& files, const std::string& path, const Manifest& manifest, Complaints& complaints) {
  const std::set<std::string> own = OwnNames(manifest);
  for (const std::string& name : files.Names(path)) {
    if (own.contains(name)) continue;
    const bool is_data = name.ends_with(".distcp") || name.ends_with(".safetensors") || IsSaveFolder(name);
    if (name == ".metadata.tmp") {
      complaints.Note(name + " is of a save that did not end");
    } else if (is_data) {
      complaints.Note(name +
                      " has data that the checkpoint does not use: of an earlier save, or of one that did not end");
    } else {
      complaints.Note(name + " does not belong to the checkpoint");
    }
  }
}

CheckpointReport Report(CheckpointFormat format, bool readable, Manifest manifest, const Complaints& complaints) {
  return {format, readable, std::move(manifest), complaints.problems(), complaints.notes()};
}

}  // namespace

std::string ChecksumOf(const SavedChunk& chunk) {
  if (!chunk.digest.empty()) return "xxh3";
  return chunk.crc != 0 ? "crc32" : "";
}

CheckpointReport InspectCheckpoint(Files& files, const std::string& path, bool with_data) {
  Complaints complaints(Complaints::Kind::kCollect);
  CheckpointFormat format = CheckpointFormat::kOwn;
  Manifest manifest;
  const bool readable = complaints.Try([&] {
    format = FormatOf(files, path);
    manifest = ReadManifest(files, path, complaints);
  });
  if (!readable) return Report(format, false, {}, complaints);
  SavedFiles saved_files(files, path, manifest);
  if (format == CheckpointFormat::kOwn) CheckHeaders(saved_files, manifest, complaints);
  if (format == CheckpointFormat::kSafetensors) {
    complaints.Try([&] { CheckSafetensorsIndex(files, path, manifest, complaints); });
  }
  if (with_data) CheckData(saved_files, manifest, complaints);
  NoteChecksums(manifest, complaints);
  complaints.Try([&] { NoteStrangers(files, path, manifest, complaints); });
  return Report(format, true, std::move(manifest), complaints);
}

CheckpointReport InspectSafetensorsFile(Files& files, const std::string& folder, const std::string& name) {
  Complaints complaints(Complaints::Kind::kCollect);
  Manifest manifest;
  const bool readable = complaints.Try([&] { manifest = ManifestOfSafetensors(files, folder, {name}, complaints); });
  NoteChecksums(manifest, complaints);
  return Report(CheckpointFormat::kSafetensors, readable, std::move(manifest), complaints);
}

}  // namespace shardcts::reference
