#include "storage/foreign_safetensors.h"

#include <algorithm>

#include "storage/safetensors.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

[[noreturn]] void FailForTensor(const std::string& name, const std::string& problem) {
  throw SemanticError("RuntimeError", "\"" + name + "\": " + problem);
}

void AddChunk(SavedTensor& tensor, const std::string& name, const std::string& file, const SafetensorsEntry& entry) {
  const at::ScalarType dtype = *DtypeOfSafetensors(entry.dtype);
  if (tensor.chunks.empty()) {
    tensor = {.path = {{name, false}}, .dtype = dtype, .shape = std::vector<int64_t>(entry.shape.size(), 0)};
  }
  if (tensor.dtype != dtype) FailForTensor(name, "has another dtype in " + file);
  if (tensor.shape.size() != entry.shape.size()) FailForTensor(name, "has another number of dimensions in " + file);
  for (size_t dim = 0; dim < entry.shape.size(); ++dim) {
    tensor.shape[dim] = std::max(tensor.shape[dim], entry.saved_offsets[dim] + entry.shape[dim]);
  }
  tensor.chunks.push_back({{entry.saved_offsets, entry.shape}, file, entry.begin, entry.end, ""});
}

void CheckTiles(const std::string& name, const SavedTensor& tensor) {
  int64_t elements = 1;
  std::vector<Box> boxes;
  for (int64_t size : tensor.shape) {
    if (__builtin_mul_overflow(elements, std::max<int64_t>(size, 1), &elements)) FailForTensor(name, "an impossible shape");
  }
  for (const SavedChunk& chunk : tensor.chunks) boxes.push_back(chunk.box);
  const std::vector<std::string> problems = TilingProblems(tensor.shape, boxes);
  if (!problems.empty()) FailForTensor(name, problems.front());
}

}  // namespace

Manifest ManifestOfSafetensors(Files& files, const std::string& path) {
  Manifest manifest;
  for (const std::string& name : files.Names(path)) {
    if (!name.ends_with(".safetensors")) continue;
    const std::unique_ptr<ReadableFile> file = files.Open(path + "/" + name);
    manifest.files[name] = file->size();
    for (const auto& [key, entry] : ReadSafetensorsHeader(*file, path + "/" + name)) {
      AddChunk(manifest.tensors[key], key, name, entry);
    }
  }
  if (manifest.files.empty()) {
    throw SemanticError("RuntimeError", path + ": neither " + kManifestName + " nor files of safetensors");
  }
  for (auto& [name, tensor] : manifest.tensors) {
    std::ranges::sort(tensor.chunks, {}, &SavedChunk::box);
    CheckTiles(name, tensor);
    manifest.order.push_back(name);
  }
  return manifest;
}

}  // namespace shardcts::reference
