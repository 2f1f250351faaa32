#include "contract/operation_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "operations_json.h"

namespace shardcts {
namespace {

std::vector<OperationSpec> ReadTable() {
  std::vector<OperationSpec> table;
  const nlohmann::json operations = nlohmann::json::parse(kOperationsJson).at("operations");
  for (const auto& row : operations) {
    OperationSpec operation{
        row.at("name"), row.at("group"), row.at("capability"), row.at("collective"), {}, row.at("result").at("type")};
    for (const auto& argument : row.at("arguments")) {
      operation.arguments.push_back({argument.at("name"), argument.at("type"), argument.at("required")});
    }
    table.push_back(std::move(operation));
  }
  return table;
}

bool HasSimpleType(const Value& value, std::string_view type) {
  if (type == "double") return value.type() == Value::Type::kInt || value.type() == Value::Type::kDouble;
  if (type.starts_with("handle ")) {
    return value.type() == Value::Type::kHandle && value.AsHandle().kind == type.substr(7);
  }
  return value.TypeName() == type;
}

bool HasType(const Value& value, std::string_view type) {
  if (const size_t choice = type.find(" or "); choice != std::string_view::npos) {
    return HasType(value, type.substr(0, choice)) || HasType(value, type.substr(choice + 4));
  }
  if (!type.starts_with("list of ")) return HasSimpleType(value, type);
  const List* list = value.TryAs<List>();
  return list && std::ranges::all_of(*list, [&](const Value& item) { return HasType(item, type.substr(8)); });
}

}  // namespace

const std::vector<OperationSpec>& Operations() {
  static const std::vector<OperationSpec> kTable = ReadTable();
  return kTable;
}

const OperationSpec* FindOperation(std::string_view name) {
  const auto found = std::ranges::find(Operations(), name, &OperationSpec::name);
  return found == Operations().end() ? nullptr : &*found;
}

std::vector<std::string> Capabilities() {
  std::vector<std::string> names;
  const nlohmann::json table = nlohmann::json::parse(kOperationsJson);
  for (const auto& row : table.at("capabilities")) names.push_back(row.at("name"));
  return names;
}

std::optional<WrongArgument> CheckArguments(const OperationSpec& operation, const Dict& arguments) {
  for (const Dict::Entry& entry : arguments) {
    const std::string name = ToString(entry.key);
    const auto spec = std::ranges::find(operation.arguments, name, &ArgumentSpec::name);
    if (spec == operation.arguments.end())
      return WrongArgument{name, fmt::format("{}: unknown argument \"{}\"", operation.name, name)};
    if (!HasType(entry.value, spec->type)) {
      return WrongArgument{name, fmt::format("{}: argument \"{}\": expected {}, got {}", operation.name, name,
                                             spec->type, ToString(entry.value))};
    }
  }
  for (const ArgumentSpec& spec : operation.arguments) {
    if (spec.required && !arguments.Contains(spec.name)) {
      return WrongArgument{spec.name, fmt::format("{}: argument \"{}\" is missing", operation.name, spec.name)};
    }
  }
  return std::nullopt;
}

bool ResultHasType(const OperationSpec& operation, const Value& result) {
  return HasType(result, operation.result_type);
}

std::string_view OperationsJson() { return kOperationsJson; }

}  // namespace shardcts
