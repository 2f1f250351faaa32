#include "fuzz/mutate_text.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

size_t Below(size_t end, Random& random) { return std::uniform_int_distribution<size_t>(0, end - 1)(random); }

const std::vector<std::string>& Stumbling() {
  static const std::vector<std::string> texts = {
      "1e999", "-1", "-0", "0", "99999999999999999999", "9223372036854775807", "-9223372036854775808", "1e300", "0.5",
      std::string(5000, '9'), "null", "true", "\"\"", "{}", "[]", "[[[[", "}}", "\"", "\\", "\n", ".", "=", "#", "'''",
      "\xff", "\xc3", "\xed\xa0\x80", std::string("\0", 1), "\"$ref\"", "\"$tensor\"", "NaN", "a.a.a.a", "\"\\ud800\"",
      std::string(600, '['), std::string(3000, '{'), "\"" + std::string(70'000, 'x') + "\"", "[[waiver]]\n", "2027-13-45"};
  return texts;
}

const std::vector<Json>& HostileValues() {
  static const std::vector<Json> values = [] {
    Json deep = 1;
    for (int i = 0; i < 200; ++i) deep = Json::array({deep});
    return std::vector<Json>{nullptr, true, -1, 0, INT64_MAX, INT64_MIN, UINT64_MAX, 1e300, -0.5, "", "$x", "$$", "..",
                             std::string(2000, 'x'), std::string("\0", 1), Json::array(), Json::object(), deep,
                             {{"$ref", Json::array({0})}}, {{"$ref", 1e300}}, {{"$handle", "model:x"}}, {{"$double", "inf"}}};
  }();
  return values;
}

std::string ChangeBytes(std::string text, Random& random) {
  const size_t at = Below(text.size() + 1, random);
  const size_t length = std::min(text.size() - at, Below(40, random) + 1);
  switch (Below(6, random)) {
    case 0: return text.erase(at, length);
    case 1: return text.insert(at, text.substr(at, length));
    case 2: return text.substr(0, at);
    case 3: return text.insert(at, Stumbling()[Below(Stumbling().size(), random)]);
    case 4: return text.replace(at, length, Stumbling()[Below(Stumbling().size(), random)]);
    default:
      if (at < text.size()) text[at] = static_cast<char>(Below(256, random));
      return text;
  }
}

// All values inside, the outermost first.
void Collect(Json& json, std::vector<Json*>& all) {
  all.push_back(&json);
  for (Json& item : json) {
    if (json.is_structured()) Collect(item, all);
  }
}

void ChangeValue(Json& document, Random& random) {
  std::vector<Json*> all;
  Collect(document, all);
  Json& chosen = *all[Below(all.size(), random)];
  const Json other = *all[Below(all.size(), random)];
  const size_t inside = chosen.is_structured() && !chosen.empty() ? Below(chosen.size(), random) : 0;
  switch (Below(4, random)) {
    case 0: chosen = other; break;
    case 1:
      if (chosen.is_structured() && !chosen.empty()) chosen.erase(std::next(chosen.begin(), static_cast<std::ptrdiff_t>(inside)));
      break;
    case 2:
      if (chosen.is_object()) chosen["unknown"] = other;
      if (chosen.is_array()) chosen.push_back(other);
      break;
    default: chosen = HostileValues()[Below(HostileValues().size(), random)];
  }
}

}  // namespace

std::string MutateText(const std::string& text, Random& random) {
  std::string mutated = text;
  Json json = Json::parse(text, nullptr, false);
  const bool change_values = !json.is_discarded() && Below(2, random) == 0;
  for (size_t changes = Below(4, random) + 1; changes > 0; --changes) {
    if (change_values) {
      ChangeValue(json, random);
    } else {
      mutated = ChangeBytes(std::move(mutated), random);
    }
  }
  return change_values ? json.dump(-1, ' ', false, Json::error_handler_t::replace) : mutated;
}

}  // namespace shardcts
