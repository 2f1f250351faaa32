#include "launch/json_file.h"

#include <algorithm>
#include <fstream>
#include <string>

#include "launch/input_error.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void Fail(const fs::path& file, const std::string& problem) {
  throw InputError(file.string() + ": " + problem);
}

std::string ReadText(const fs::path& file, uintmax_t max_bytes) {
  std::error_code error;
  const uintmax_t size = fs::file_size(file, error);
  if (error) Fail(file, "cannot be read");  // it is not there, or no regular file
  std::ifstream stream(file, std::ios::binary);
  if (!stream) Fail(file, "cannot be read");
  if (size > max_bytes) Fail(file, "larger than " + std::to_string(max_bytes) + " bytes");
  std::string text(size, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(size));
  text.resize(static_cast<size_t>(stream.gcount()));
  return text;
}

// Of the byte at `offset`.
std::string PlaceIn(const std::string& text, size_t offset) {
  const auto end = text.begin() + static_cast<std::ptrdiff_t>(std::min(offset, text.size()));
  const auto line = std::count(text.begin(), end, '\n') + 1;
  const auto column = end - std::find(std::make_reverse_iterator(end), text.rend(), '\n').base() + 1;
  return "line " + std::to_string(line) + ", column " + std::to_string(column);
}

}  // namespace

nlohmann::ordered_json ReadJsonFile(const fs::path& file, uintmax_t max_bytes) {
  const std::string text = ReadText(file, max_bytes);
  try {
    return nlohmann::ordered_json::parse(text);
  } catch (const nlohmann::ordered_json::parse_error& error) {
    const size_t offset = error.byte == 0 ? 0 : error.byte - 1;
    Fail(file, PlaceIn(text, offset) + ": " + (error.byte > text.size() ? "truncated" : "not JSON"));
  }
}

}  // namespace shardcts
