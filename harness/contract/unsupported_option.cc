#include "contract/unsupported_option.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "contract/capability_tree.h"

namespace shardcts {
namespace {

constexpr std::string_view kRecordType = "record ";

std::vector<FieldSpec> FieldsOf(const RecordSpec& record) {
  std::vector<FieldSpec> fields = record.fields;
  for (const auto& [value, name] : record.cases) {
    for (const FieldSpec& field : FieldsOf(RecordNamed(name))) fields.push_back(field);
  }
  return fields;
}

// The fields of the record that `type` names, alone or in a list.
std::vector<FieldSpec> FieldsInside(std::string_view type) {
  const size_t at = type.find(kRecordType);
  if (at == std::string_view::npos) return {};
  const std::string_view name = type.substr(at + kRecordType.size());
  return FieldsOf(RecordNamed(name.substr(0, name.find(' '))));
}

// "any" stands for each value.
std::string CapabilityOf(const FieldSpec& field, const Value* value) {
  if (value == nullptr) return "";
  const auto any = field.capabilities.find("any");
  if (any != field.capabilities.end()) return any->second;
  const bool is_text = value->type() == Value::Type::kString;
  const auto found = field.capabilities.find(is_text ? value->AsString() : ToString(*value));
  return found == field.capabilities.end() ? "" : found->second;
}

// `given`: the dict that has the fields; nullptr: the call does not have it.
std::optional<UnsupportedOption> Find(const std::vector<FieldSpec>& fields, const Dict* given, std::string_view path) {
  const std::string name(path.substr(0, path.find('.')));
  const auto field = std::ranges::find(fields, name, &FieldSpec::name);
  if (field == fields.end()) return std::nullopt;
  const Value* value = given ? given->Find(name) : nullptr;
  if (name.size() < path.size()) {
    const bool is_dict = value != nullptr && value->type() == Value::Type::kDict;
    return Find(FieldsInside(field->type), is_dict ? &value->AsDict() : nullptr, path.substr(name.size() + 1));
  }
  const bool has_choice = !field->values.empty() || !field->capabilities.empty();
  if (field->required && !has_choice) return std::nullopt;
  return UnsupportedOption{"", CapabilityOf(*field, value)};
}

// The records that a value has: itself, the elements of a list, the values of a dict by names.
std::vector<std::pair<std::string, const Dict*>> RecordsIn(const FieldSpec& field, const Value& value) {
  std::vector<std::pair<std::string, const Dict*>> records;
  const auto add = [&](const std::string& path, const Value& entry) {
    if (const auto* record = entry.TryAs<Dict>()) records.emplace_back(path, record);
  };
  if (field.type.find(kRecordType) == std::string::npos) return records;
  if (const auto* list = value.TryAs<List>()) {
    for (size_t i = 0; i < list->size(); ++i) add(field.name + "." + std::to_string(i), (*list)[i]);
  } else if (const auto* dict = value.TryAs<Dict>(); dict && field.type.starts_with("dict of ")) {
    for (const auto& [key, entry] : *dict) add(field.name + "." + ToString(key), entry);
  } else {
    add(field.name, value);
  }
  return records;
}

std::optional<UnsupportedOption> FindUndeclared(const std::vector<FieldSpec>& fields, const Dict& given,
                                                const std::string& above, const std::vector<std::string>& declared) {
  for (const auto& [key, value] : given) {
    const auto field = std::ranges::find(fields, ToString(key), &FieldSpec::name);
    if (field == fields.end() || value.IsNone()) continue;
    const std::string capability = CapabilityOf(*field, &value);
    if (!capability.empty() && !DeclaresCapability(declared, capability)) {
      return UnsupportedOption{above + field->name, capability};
    }
    for (const auto& [path, record] : RecordsIn(*field, value)) {
      const auto inside = FindUndeclared(FieldsInside(field->type), *record, above + path + ".", declared);
      if (inside) return inside;
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<UnsupportedOption> FindUndeclaredOption(const OperationSpec& operation, const Dict& arguments,
                                                      const std::vector<std::string>& declared) {
  return FindUndeclared(operation.arguments, arguments, "", declared);
}

std::optional<UnsupportedOption> FindUnsupportedOption(const OperationSpec& operation, const Dict& arguments,
                                                       std::string_view message) {
  const std::string_view path = message.substr(0, message.find(':'));
  std::optional<UnsupportedOption> found = Find(operation.arguments, &arguments, path);
  if (found) found->path = path;
  return found;
}

}  // namespace shardcts
