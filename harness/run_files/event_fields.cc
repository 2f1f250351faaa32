#include "run_files/event_fields.h"

#include <cmath>
#include <stdexcept>

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kQuotedBytes = 120;

std::string Quoted(const Json& json) {
  return Bounded(json.dump(-1, ' ', false, Json::error_handler_t::replace), kQuotedBytes);
}

}  // namespace

std::string TextField(const Json& event, const char* key, size_t max_bytes) {
  return Bounded(event.value(key, ""), max_bytes);
}

int64_t CountOf(const Json& number) {
  if (!number.is_number_integer() || number < 0 || number > INT32_MAX) {
    throw std::runtime_error("no count: " + Quoted(number));
  }
  return number.get<int64_t>();
}

double SecondsOf(const Json& number) {
  const double seconds = number.get<double>();
  if (!(seconds >= 0) || !std::isfinite(seconds)) throw std::runtime_error("no duration: " + Quoted(number));
  return seconds;
}

const Json& EntriesOf(const Json& event, const char* key, const Json& none, size_t most) {
  const Json& found = event.contains(key) ? event[key] : none;
  if (found.type() != none.type()) throw std::runtime_error(std::string(key) + " is of a wrong type");
  if (found.size() > most) {
    throw std::runtime_error(std::string(key) + " has more than " + std::to_string(most) + " entries");
  }
  return found;
}

const std::string& BoundedKey(const std::string& key) {
  if (key.size() > kMaxNameBytes) {
    throw std::runtime_error("a key longer than " + std::to_string(kMaxNameBytes) + " bytes");
  }
  return key;
}

}  // namespace shardcts
