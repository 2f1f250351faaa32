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
      case Json::parse_event_t::object_start: Enter(false); break;
      case Json::parse_event_t::array_start: Enter(true); break;
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

  // What reads a parsed value calls itself for each level.
  void Enter(bool is_array) {
    if (levels_.size() == kMaxJsonDepth) Fail(file_, "nested more than " + std::to_string(kMaxJsonDepth) + " deep");
    levels_.push_back({.is_array = is_array});
  }

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

// Where the parser gives up.
class FaultFinder final : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return true; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    position_ = position;
    return false;
  }

  static size_t Find(const std::string& text) {
    FaultFinder finder;
    Json::sax_parse(text, &finder);
    return finder.position_ == 0 ? 0 : finder.position_ - 1;
  }

 private:
  size_t position_ = 0;
};

}  // namespace

Json ParseJson(const std::string& text, const fs::path& name) {
  KeyWatch watch(name);
  try {
    return Json::parse(text, [&watch](int, Json::parse_event_t event, Json& parsed) {
      watch.On(event, parsed);
      return true;
    });
  } catch (const Json::out_of_range&) {
    Fail(name, PlaceIn(text, FaultFinder::Find(text)) + ": a number that is out of range");
  } catch (const Json::exception&) {
    const size_t offset = FaultFinder::Find(text);
    Fail(name, PlaceIn(text, offset) + ": " + (offset >= text.size() ? "truncated" : "not JSON"));
  }
}

Json ReadJsonFile(const fs::path& file, uintmax_t max_bytes) { return ParseJson(ReadText(file, max_bytes), file); }

}  // namespace shardcts
