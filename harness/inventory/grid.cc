#include "inventory/grid.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxElements = 10'000;  // of one grid

}  // namespace

std::string ValueText(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

Json ParseValueLists(const JsonPlace& place) {
  place.Object();
  for (const auto& [key, values] : place.json->items()) {
    if (!values.is_array() || values.empty()) place.At(key).Fail("expected a list with at least one value");
  }
  return *place.json;
}

Json ParseGridLists(const JsonPlace& place, const std::vector<const char*>& reserved) {
  Json lists = *place.Object().json;
  for (const char* key : reserved) lists.erase(key);
  ParseValueLists({&lists, place.file, place.pointer});
  size_t elements = 1;
  for (const Json& values : lists) {
    elements *= values.size();
    if (elements > kMaxElements) place.Fail("more than 10000 elements");
  }
  return lists;
}

std::vector<Json> ExpandGrid(const Json& lists) {
  std::vector<Json> elements = {Json::object()};
  for (const auto& [key, values] : lists.items()) {
    std::vector<Json> extended;
    for (const Json& element : elements) {
      for (const Json& value : values) {
        extended.push_back(element);
        extended.back()[key] = value;
      }
    }
    elements = std::move(extended);
  }
  return elements;
}

std::string VariantText(std::string text, const Json& element) {
  for (const auto& [key, value] : element.items()) text += "," + key + "=" + ValueText(value);
  return text;
}

}  // namespace shardcts
