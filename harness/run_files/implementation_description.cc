#include "run_files/implementation_description.h"

#include "run_files/foreign_text.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

std::string Shown(const Json& json) {
  return Bounded(json.dump(-1, ' ', false, Json::error_handler_t::replace), 100);
}

// Of a text with this limit; `place` is its name in messages.
std::string ProblemOfText(const Json& json, const std::string& place, size_t max_bytes) {
  if (!json.is_string()) return place + ": expected a text, got " + Shown(json);
  const size_t bytes = json.get_ref<const std::string&>().size();
  return bytes <= max_bytes ? "" : place + ": longer than " + std::to_string(max_bytes) + " bytes";
}

// Of a list or dict, each of whose items is checked by `check(item, place)`.
template <class Check>
std::string ProblemOfItems(const Json& json, const std::string& place, Check check) {
  if (json.size() > kMaxEntries) return place + ": more than " + std::to_string(kMaxEntries) + " entries";
  for (const auto& [key, item] : json.items()) {
    if (key.size() > kMaxNameBytes) return place + ": a key longer than " + std::to_string(kMaxNameBytes) + " bytes";
    const std::string at = json.is_array() ? place + "[" + key + "]" : place + "." + key;
    if (std::string problem = check(item, at); !problem.empty()) return problem;
  }
  return "";
}

std::string ProblemOfNames(const Json& json, const std::string& place) {
  if (!json.is_array()) return place + ": expected a list of texts, got " + Shown(json);
  return ProblemOfItems(json, place, [](const Json& item, const std::string& at) {
    return ProblemOfText(item, at, kMaxNameBytes);
  });
}

std::string ProblemOfPatch(const Json& json, const std::string& place) {
  const bool right = json.is_object() && json.size() == 2 && json.contains("target") && json.contains("reason");
  if (!right) return place + ": expected {target, reason}, got " + Shown(json);
  return ProblemOfItems(json, place, [](const Json& item, const std::string& at) {
    std::string problem = ProblemOfText(item, at, kMaxMessageBytes);
    return problem.empty() && item.get_ref<const std::string&>().empty() ? at + ": is empty" : problem;
  });
}

std::string ProblemOfNote(const Json& json, const std::string& place) {
  const bool scalar = json.is_number() || json.is_boolean() || json.is_null();
  return scalar ? "" : ProblemOfText(json, place, kMaxMessageBytes);
}

std::string Problem(const Json& json) {
  if (!json.is_object()) return "expected a dict, got " + Shown(json);
  for (const auto& [key, value] : json.items()) {
    std::string problem;
    if (key == "name" || key == "version" || key == "based_on") {
      problem = ProblemOfText(value, key, kMaxNameBytes);
    } else if (key == "capabilities" || key == "devices") {
      problem = ProblemOfNames(value, key);
    } else if (key == "patches") {
      problem = value.is_array() ? ProblemOfItems(value, key, ProblemOfPatch)
                                 : "patches: expected a list, got " + Shown(value);
    } else if (key == "notes") {
      problem = value.is_object() ? ProblemOfItems(value, key, ProblemOfNote)
                                  : "notes: expected a dict, got " + Shown(value);
    } else {
      problem = "unknown field " + Shown(Json(key));
    }
    if (!problem.empty()) return problem;
  }
  for (const char* key : {"name", "version", "capabilities"}) {
    if (!json.contains(key)) return std::string(key) + ": is missing";
  }
  for (const char* key : {"name", "version"}) {
    if (json[key].get_ref<const std::string&>().empty()) return std::string(key) + ": is empty";
  }
  return "";
}

}  // namespace

std::optional<std::string> FindDescriptionProblem(const Json& description) {
  std::string problem = Problem(description);
  return problem.empty() ? std::nullopt : std::optional(std::move(problem));
}

}  // namespace shardcts
