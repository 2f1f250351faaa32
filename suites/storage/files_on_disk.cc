#include "suites/storage/files_on_disk.h"

#include <filesystem>
#include <fstream>
#include <iterator>

#include "contract/tensor_bytes.h"
#include "rank/session.h"

namespace shardcts::storage {
namespace {

namespace fs = std::filesystem;

std::map<std::string, int64_t> FilesBelow(const std::string& folder) {
  std::map<std::string, int64_t> sizes;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) sizes[entry.path().string()] = static_cast<int64_t>(entry.file_size());
  }
  return sizes;
}

}  // namespace

std::map<std::string, std::string> DigestsBelow(const std::string& folder) {
  std::map<std::string, std::string> digests;
  for (const auto& [path, size] : FilesBelow(folder)) {
    digests[fs::relative(path, folder).string()] = Digest(ContentOf(path));
  }
  return digests;
}

Dict SizesByName(const std::string& folder) {
  Dict sizes;
  for (const auto& [path, size] : FilesBelow(folder)) sizes.Set(fs::path(path).filename().string(), size);
  return sizes;
}

int64_t BytesBelow(const std::string& folder) {
  int64_t bytes = 0;
  for (const auto& [path, size] : FilesBelow(folder)) bytes += size;
  return bytes;
}

std::string LargestBelow(const std::string& folder, const std::string& other_than) {
  std::string largest;
  int64_t most = -1;
  for (const auto& [path, size] : FilesBelow(folder)) {
    if (size > most && path != other_than) most = size, largest = path;
  }
  if (most < 0) throw HarnessError(folder + " has no files");
  return largest;
}

std::string ContentOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::pair<std::string, size_t> FindBytes(const std::string& folder, const std::string& bytes) {
  for (const auto& [path, size] : FilesBelow(folder)) {
    const size_t place = ContentOf(path).find(bytes);
    if (place != std::string::npos) return {path, place};
  }
  return {};
}

void ZeroBelow(const std::string& folder) {
  for (const auto& [path, size] : FilesBelow(folder)) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file << std::string(static_cast<size_t>(size), '\0');
  }
}

void FlipBit(const std::string& path, size_t place) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(static_cast<std::streamoff>(place));
  const char byte = static_cast<char>(file.get() ^ 0x10);
  file.seekp(static_cast<std::streamoff>(place));
  file.put(byte);
}

}  // namespace shardcts::storage
