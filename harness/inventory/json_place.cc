#include "inventory/json_place.h"

#include "run_files/input_error.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMaxRanks = 4096;

}  // namespace

void JsonPlace::Fail(const std::string& problem) const {
  throw InputError(file + ": " + (pointer.empty() ? "/" : pointer) + ": " + problem);
}

JsonPlace JsonPlace::Member(const std::string& key) const {
  Object();
  if (!Has(key)) Fail("'" + key + "' is missing");
  return At(key);
}

const JsonPlace& JsonPlace::Require(Json::value_t type, const char* name) const {
  const bool fits = json->type() == type ||
                    (type == Json::value_t::number_unsigned && json->type() == Json::value_t::number_integer);
  if (!fits) Fail(std::string("expected ") + name + ", got " + json->type_name());
  return *this;
}

const JsonPlace& JsonPlace::Object() const { return Require(Json::value_t::object, "an object"); }

std::string JsonPlace::Text() const { return Require(Json::value_t::string, "a string").json->get<std::string>(); }

int JsonPlace::WorldSize() const {
  if (!json->is_number_integer() || *json < 1 || *json > kMaxRanks) Fail("expected a positive integer up to 4096");
  return json->get<int>();
}

int JsonPlace::Rank() const {
  if (!json->is_number_integer() || *json < 0 || *json >= kMaxRanks) Fail("expected a rank");
  return json->get<int>();
}

std::vector<JsonPlace> JsonPlace::Elements() const {
  Require(Json::value_t::array, "an array");
  std::vector<JsonPlace> elements;
  for (size_t i = 0; i < json->size(); ++i) {
    elements.push_back({&(*json)[i], file, pointer + "/" + std::to_string(i)});
  }
  return elements;
}

std::vector<std::string> JsonPlace::Texts() const {
  std::vector<std::string> texts;
  for (const JsonPlace& element : Elements()) texts.push_back(element.Text());
  return texts;
}

std::vector<int> JsonPlace::WorldSizes() const {
  std::vector<int> sizes;
  for (const JsonPlace& element : Elements()) sizes.push_back(element.WorldSize());
  if (sizes.empty()) Fail("no world size is listed");
  return sizes;
}

}  // namespace shardcts
