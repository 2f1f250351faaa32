#include "storage/foreign_safetensors.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "storage/safetensors.h"
#include "storage/untrusted_json.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

constexpr const char* kSuffix = ".safetensors";
constexpr int64_t kMaxIndexBytes = int64_t{1} << 30;
constexpr int64_t kMostNamed = 10;  // missing files

[[noreturn]] void FailForTensor(const std::string& name, const std::string& problem) {
  throw SemanticError("RuntimeError", "\"" + name + "\": " + problem);
}

// What a folder without any of them may be.
std::string OtherFormat(Files& files, const std::string& path) {
  for (const std::string& name : files.Names(path)) {
    if (name.starts_with("__") && name.ends_with(".metadata")) {
      return "; " + name +
             " is of a checkpoint whose ranks wrote metadata of their own (use_collectives=False), which is not read";
    }
    if (name.ends_with(".distcp"))
      return "; it has " + name + ", and is a save that did not end, or lost its .metadata";
  }
  return "";
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

void CheckTiles(const std::string& name, const SavedTensor& tensor, Complaints& complaints) {
  int64_t elements = 1;
  std::vector<Box> boxes;
  for (int64_t size : tensor.shape) {
    if (__builtin_mul_overflow(elements, std::max<int64_t>(size, 1), &elements)) FailForTensor(name, "an impossible shape");
  }
  for (const SavedChunk& chunk : tensor.chunks) boxes.push_back(chunk.box);
  for (const std::string& problem : TilingProblems(tensor.shape, boxes)) {
    complaints.Problem("\"" + name + "\": " + problem);
  }
}

// "model-00002-of-00003.safetensors": what is in front of the number, the number, and how many there are.
struct NumberedName {
  std::string stem;
  int64_t number = 0;
  int64_t count = 0;
};

std::optional<NumberedName> Numbered(const std::string& name) {
  const size_t of = name.rfind("-of-"), dash = of == name.npos ? of : name.rfind('-', of - 1);
  if (of == name.npos || of == 0 || dash == name.npos) return std::nullopt;
  const auto number_in = [&](size_t begin, size_t end) -> std::optional<int64_t> {
    int64_t number = 0;
    const auto [rest, error] = std::from_chars(name.data() + begin, name.data() + end, number);
    return error == std::errc() && rest == name.data() + end && number > 0 ? std::optional(number) : std::nullopt;
  };
  const auto number = number_in(dash + 1, of), count = number_in(of + 4, name.size() - std::string(kSuffix).size());
  if (!number || !count) return std::nullopt;
  return NumberedName{name.substr(0, dash), *number, *count};
}

// Stem and count -> the numbers that there are.
using Numbers = std::map<std::pair<std::string, int64_t>, std::set<int64_t>>;

Numbers NumbersIn(const std::vector<std::string>& names) {
  Numbers numbers;
  for (const std::string& name : names) {
    if (const auto numbered = Numbered(name)) numbers[{numbered->stem, numbered->count}].insert(numbered->number);
  }
  return numbers;
}

// The files that the index of the folder names. None: there is no index, or it is damaged, which only verify says.
std::vector<std::string> IndexedFiles(Files& files, const std::string& path) {
  const std::string file = path + "/" + kSafetensorsIndex;
  if (!files.Exists(file)) return {};
  std::vector<std::string> names;
  try {
    const FileJson json = ParseUntrusted(ReadText(files, file, kMaxIndexBytes), file);
    const UntrustedPlace root{&json, file};
    root.At("weight_map").ForEach(
        [&](const std::string&, const UntrustedPlace& place) { names.push_back(place.Text()); });
  } catch (const SemanticError&) {
    return {};
  }
  return names;
}

// A tensor whose last chunk is missing looks like a smaller tensor: only the names of the files tell.
// Of a series of which an index names some, no others need be there.
void CheckNumbers(Files& files, const std::string& path, const std::vector<std::string>& names, Complaints& complaints) {
  std::optional<Numbers> needed;  // by the index, which is read only where a number is missing
  for (const auto& [series, there] : NumbersIn(names)) {
    int64_t missing = 0;
    for (int64_t number = 1; number <= series.second && missing < kMostNamed; ++number) {
      if (there.contains(number)) continue;
      if (!needed) needed = NumbersIn(IndexedFiles(files, path));
      if (needed->contains(series) && !needed->at(series).contains(number)) continue;
      ++missing;
      complaints.Problem("file " + std::to_string(number) + " of " + std::to_string(series.second) + " is missing: " +
                         series.first + "-…" + kSuffix);
    }
  }
}

}  // namespace

std::vector<std::string> SafetensorsIn(Files& files, const std::string& path) {
  std::vector<std::string> names = files.Names(path);
  std::erase_if(names, [](const std::string& name) { return !name.ends_with(kSuffix); });
  return names;
}

Manifest ManifestOfSafetensors(Files& files, const std::string& path, Complaints& complaints) {
  const std::vector<std::string> names = SafetensorsIn(files, path);
  if (names.empty()) {
    throw SemanticError("RuntimeError", path + ": neither " + kManifestName +
                                            " nor .metadata nor files of safetensors" + OtherFormat(files, path));
  }
  CheckNumbers(files, path, names, complaints);
  return ManifestOfSafetensors(files, path, names, complaints);
}

Manifest ManifestOfSafetensors(Files& files, const std::string& path, const std::vector<std::string>& names,
                               Complaints& complaints) {
  Manifest manifest;
  for (const std::string& name : names) {
    complaints.Try([&] {
      const std::unique_ptr<ReadableFile> file = files.Open(path + "/" + name);
      manifest.files[name] = file->size();
      for (const auto& [key, entry] : ReadSafetensorsHeader(*file, path + "/" + name)) {
        complaints.Try([&] { AddChunk(manifest.tensors[key], key, name, entry); });
      }
    });
  }
  for (auto& [name, tensor] : manifest.tensors) {
    std::ranges::sort(tensor.chunks, {}, &SavedChunk::box);
    complaints.Try([&] { CheckTiles(name, tensor, complaints); });
    manifest.order.push_back(name);
  }
  return manifest;
}

void CheckSafetensorsIndex(Files& files, const std::string& path, const Manifest& manifest, Complaints& complaints) {
  const std::string file = path + "/" + kSafetensorsIndex;
  if (!files.Exists(file)) return;
  const FileJson json = ParseUntrusted(ReadText(files, file, kMaxIndexBytes), file);
  const UntrustedPlace root{&json, file};
  std::set<std::string> named;
  root.At("weight_map").ForEach([&](const std::string& name, const UntrustedPlace& place) {
    const std::string in = place.Text();
    const auto tensor = manifest.tensors.find(name);
    const bool is_there = tensor != manifest.tensors.end() &&
                          std::ranges::count(tensor->second.chunks, in, &SavedChunk::file) > 0;
    if (!manifest.files.contains(in)) {
      complaints.Problem(place.where + ": the folder has no file \"" + in + "\"");
    } else if (!is_there) {
      complaints.Problem(place.where + ": the file \"" + in + "\" has no such tensor");
    }
    named.insert(name);
  });
  int64_t bytes = 0;
  for (const auto& [name, tensor] : manifest.tensors) {
    if (!named.contains(name)) complaints.Problem("\"" + name + "\": is not in " + file);
    for (const SavedChunk& chunk : tensor.chunks) bytes += chunk.end - chunk.begin;
  }
  if (!json.contains("metadata") || !root.At("metadata").json->contains("total_size")) return;
  const int64_t total = root.At("metadata").At("total_size").Number();
  if (total == bytes) return;
  complaints.Problem(file + ": total_size is " + std::to_string(total) + ", the tensors have " + std::to_string(bytes) +
                     " bytes");
}

}  // namespace shardcts::reference
