#include "run_files/json_file.h"

#include <algorithm>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "run_files/input_error.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

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

// Follows the parser, which would keep the first of two equal keys without a word.
class KeyWatch {
 public:
  explicit KeyWatch(const fs::path& file) : file_(file) {}

  void On(Json::parse_event_t event, const Json& parsed) {
    switch (event) {
      case Json::parse_event_t::object_start: levels_.push_back({.is_array = false}); break;
      case Json::parse_event_t::array_start: levels_.push_back({.is_array = true}); break;
      case Json::parse_event_t::key: EnterKey(parsed); break;
      case Json::parse_event_t::object_end:
      case Json::parse_event_t::array_end: levels_.pop_back(); [[fallthrough]];
      case Json::parse_event_t::value:
        if (!levels_.empty()) ++levels_.back().index;
    }
  }

 private:
  struct Level {
    bool is_array;
    std::set<std::string> keys;  // of an object, so far
    std::string key;
    size_t index = 0;
  };

  void EnterKey(const Json& parsed) {
    Level& level = levels_.back();
    level.key = parsed.get<std::string>();
    if (!level.keys.insert(level.key).second) Fail(file_, Place() + "key " + Quoted(level.key) + " stands twice");
  }

  static std::string Quoted(const std::string& key) {
    constexpr size_t kMaxBytes = 200;
    return Json(key.substr(0, kMaxBytes)).dump(-1, ' ', true, Json::error_handler_t::replace);
  }

  // Of the object that is being read: "steps[3].args: ", nothing for the outermost.
  std::string Place() const {
    std::string place;
    for (size_t i = 0; i + 1 < levels_.size(); ++i) {
      if (levels_[i].is_array) {
        place += "[" + std::to_string(levels_[i].index) + "]";
      } else {
        const std::string quoted = Quoted(levels_[i].key);
        place += (place.empty() ? "" : ".") + quoted.substr(1, quoted.size() - 2);
      }
    }
    return place.empty() ? "" : place + ": ";
  }

  const fs::path& file_;
  std::vector<Level> levels_;
};

}  // namespace

Json ReadJsonFile(const fs::path& file, uintmax_t max_bytes) {
  const std::string text = ReadText(file, max_bytes);
  KeyWatch watch(file);
  try {
    return Json::parse(text, [&watch](int, Json::parse_event_t event, Json& parsed) {
      watch.On(event, parsed);
      return true;
    });
  } catch (const Json::parse_error& error) {
    const size_t offset = error.byte == 0 ? 0 : error.byte - 1;
    Fail(file, PlaceIn(text, offset) + ": " + (error.byte > text.size() ? "truncated" : "not JSON"));
  }
}

}  // namespace shardcts
