#include "contract/argument_check.h"

#include <fmt/format.h>

#include <algorithm>

#include "contract/nearest_name.h"

namespace shardcts {
namespace {

constexpr std::string_view kUnknownKind = "not yet known";
constexpr std::string_view kOr = " or ";
constexpr std::string_view kHandle = "handle ";
constexpr std::string_view kListOf = "list of ";
constexpr std::string_view kDictOf = "dict of ";
constexpr std::string_view kRecord = "record ";

// nullopt: nothing is wrong. The name is the value's whole path: "options.mesh".
using Complaint = std::optional<WrongArgument>;

std::string Below(const std::string& path, std::string_view name) {
  return path.empty() ? std::string(name) : path + "." + std::string(name);
}

template <class... Parts>
Complaint Wrong(const std::string& path, fmt::format_string<Parts...> what, Parts&&... parts) {
  return WrongArgument{path, fmt::format("argument \"{}\"{}", path, fmt::format(what, std::forward<Parts>(parts)...))};
}

Complaint Expected(std::string_view type, const Value& value, const std::string& path) {
  // A double may read like an int.
  const char* kind = value.type() == Value::Type::kDouble ? "double " : "";
  return Wrong(path, ": expected {}, got {}{}", type, kind, ToString(value));
}

Complaint Allowed(const std::string& text, const std::vector<std::string>& values, const std::string& path) {
  if (std::ranges::find(values, text) != values.end()) return std::nullopt;
  return Wrong(path, ": {}", UnknownName("value", text, values));
}

// Of a type that is neither a choice nor has types inside.
bool HasSimpleType(const Value& value, std::string_view type) {
  if (type == "double") return value.type() == Value::Type::kInt || value.type() == Value::Type::kDouble;
  if (type == kFolder) return value.type() == Value::Type::kString;
  if (!type.starts_with(kHandle)) return value.TypeName() == type;
  const Handle* handle = value.TryAs<Handle>();
  return handle && handle->kind == type.substr(kHandle.size());
}

class Checker {
 public:
  explicit Checker(Unknowns unknowns) : unknowns_(unknowns) {}

  Complaint Fields(const std::vector<FieldSpec>& fields, const Dict& dict, const std::string& path) {
    std::vector<std::string_view> known;
    for (const FieldSpec& field : fields) known.push_back(field.name);
    for (const std::string& name : dict.Keys()) {
      if (std::ranges::find(known, name) != known.end()) continue;
      return WrongArgument{Below(path, name), UnknownName("argument", name, known, path.empty() ? "" : path + ".")};
    }
    around_.push_back(&dict);
    Complaint complaint;
    for (size_t i = 0; i < fields.size() && !complaint; ++i) complaint = Field(fields[i], dict, path);
    around_.pop_back();
    return complaint;
  }

  Complaint Type(std::string_view type, const Value& value, const std::string& path) {
    if (HasSimpleType(value, type) || IsUnknown(value)) return std::nullopt;
    if (const size_t choice = type.find(kOr); choice != std::string_view::npos) {
      const bool fits = Fits(type.substr(0, choice), value) || Fits(type.substr(choice + kOr.size()), value);
      return fits ? std::nullopt : Expected(type, value, path);
    }
    if (type.starts_with(kListOf)) return ListOf(type, value, path);
    if (type.starts_with(kDictOf)) return DictOf(type, value, path);
    if (type.starts_with(kRecord)) return Record(type.substr(kRecord.size()), value, path);
    return Expected(type, value, path);
  }

  bool Fits(std::string_view type, const Value& value) {
    if (HasSimpleType(value, type)) return true;
    const bool has_types_inside = type.find(" of ") != std::string_view::npos || type.starts_with(kRecord);
    const bool is_choice = type.find(kOr) != std::string_view::npos;
    return (has_types_inside || is_choice) && !Type(type, value, "");
  }

 private:
  bool IsUnknown(const Value& value) const {
    const Handle* handle = value.TryAs<Handle>();
    return unknowns_ == Unknowns::kHaveAnyType && handle && handle->kind == kUnknownKind;
  }

  Complaint Field(const FieldSpec& field, const Dict& dict, const std::string& outer) {
    const std::string path = Below(outer, field.name);
    const Value* value = dict.Find(field.name);
    if (!value && field.required) return Wrong(path, " is missing");
    if (!value) return std::nullopt;
    if (Complaint complaint = Type(field.type, *value, path)) return complaint;
    const std::string* text = value->TryAs<std::string>();
    if (text && !field.values.empty()) return Allowed(*text, field.values, path);
    const int64_t* number = value->TryAs<int64_t>();
    if (number && field.min && *number < *field.min) {
      return Wrong(path, ": expected at least {}, got {}", *field.min, *number);
    }
    return std::nullopt;
  }

  Complaint ListOf(std::string_view type, const Value& value, const std::string& path) {
    const List* list = value.TryAs<List>();
    if (!list) return Expected(type, value, path);
    const std::string_view item_type = type.substr(kListOf.size());
    for (size_t i = 0; i < list->size(); ++i) {
      if (HasSimpleType((*list)[i], item_type)) continue;
      if (Complaint complaint = Type(item_type, (*list)[i], fmt::format("{}[{}]", path, i))) return complaint;
    }
    return std::nullopt;
  }

  Complaint DictOf(std::string_view type, const Value& value, const std::string& path) {
    const Dict* dict = value.TryAs<Dict>();
    if (!dict) return Expected(type, value, path);
    for (const Dict::Entry& entry : *dict) {
      const std::string inner = Below(path, ToString(entry.key));
      if (Complaint complaint = Type(type.substr(kDictOf.size()), entry.value, inner)) return complaint;
    }
    return std::nullopt;
  }

  Complaint Record(std::string_view name, const Value& value, const std::string& path) {
    const Dict* dict = value.TryAs<Dict>();
    if (!dict) return Expected("dict", value, path);
    const RecordSpec& record = RecordNamed(name);
    if (record.by.empty()) return Fields(record.fields, *dict, path);
    const Value* choice = dict->Find(record.by);
    for (auto outer = around_.rbegin(); !choice && outer != around_.rend(); ++outer) choice = (*outer)->Find(record.by);
    const std::string choice_path = Below(path, record.by);
    if (!choice) return Wrong(choice_path, " is missing");
    if (IsUnknown(*choice)) return std::nullopt;
    const std::string* text = choice->TryAs<std::string>();
    if (!text) return Expected("string", *choice, choice_path);
    const auto found = record.cases.find(*text);
    if (found != record.cases.end()) return Record(found->second, value, path);
    std::vector<std::string> known;
    for (const auto& [case_name, unused] : record.cases) known.push_back(case_name);
    return Allowed(*text, known, choice_path);
  }

  Unknowns unknowns_;
  std::vector<const Dict*> around_;  // the dicts around the value that is checked, the innermost last
};

}  // namespace

Value NotYetKnown() { return Handle{std::string(kUnknownKind), 0}; }

std::optional<WrongArgument> CheckArguments(const OperationSpec& operation, const Dict& arguments, Unknowns unknowns) {
  Complaint complaint = Checker(unknowns).Fields(operation.arguments, arguments, "");
  if (!complaint) return std::nullopt;
  const std::string& path = complaint->name;
  return WrongArgument{path.substr(0, path.find_first_of(".[")), operation.name + ": " + complaint->message};
}

bool ResultHasType(const OperationSpec& operation, const Value& result) {
  return Checker(Unknowns::kAreWrong).Fits(operation.result_type, result);
}

}  // namespace shardcts
