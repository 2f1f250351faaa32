#include "contract/operation_table.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "contract/nearest_name.h"
#include "operations_json.h"

namespace shardcts {
namespace {

std::vector<FieldSpec> ReadFields(const nlohmann::json& rows) {
  std::vector<FieldSpec> fields;
  for (const auto& row : rows) {
    FieldSpec field{row.at("name"), row.at("type"), row.value("required", false),
                    row.value("values", std::vector<std::string>{}), std::nullopt,
                    row.value("capabilities", std::map<std::string, std::string>{})};
    if (row.contains("min")) field.min = row.at("min").get<int64_t>();
    fields.push_back(std::move(field));
  }
  return fields;
}

struct Table {
  std::vector<OperationSpec> operations;
  std::vector<RecordSpec> records;
  std::vector<std::string> capabilities;
};

Table ReadTable() {
  Table table;
  const nlohmann::json document = nlohmann::json::parse(kOperationsJson);
  for (const auto& row : document.at("capabilities")) table.capabilities.push_back(row.at("name"));
  for (const auto& row : document.at("records")) {
    table.records.push_back({row.at("name"), ReadFields(row.value("fields", nlohmann::json::array())),
                             row.value("by", ""), row.value("cases", std::map<std::string, std::string>{})});
  }
  for (const auto& row : document.at("operations")) {
    table.operations.push_back({row.at("name"), row.at("group"), row.at("capability"), row.at("collective"),
                                ReadFields(row.at("arguments")), row.at("result").at("type")});
  }
  return table;
}

const Table& TheTable() {
  static const Table kTable = ReadTable();
  return kTable;
}

}  // namespace

const std::vector<OperationSpec>& Operations() { return TheTable().operations; }

const OperationSpec* FindOperation(std::string_view name) {
  const auto found = std::ranges::find(Operations(), name, &OperationSpec::name);
  return found == Operations().end() ? nullptr : &*found;
}

std::string UnknownOperation(std::string_view name) {
  std::vector<std::string_view> known;
  for (const OperationSpec& operation : Operations()) known.push_back(operation.name);
  return UnknownName("operation", name, known);
}

const RecordSpec& RecordNamed(std::string_view name) {
  const auto found = std::ranges::find(TheTable().records, name, &RecordSpec::name);
  if (found == TheTable().records.end()) throw std::logic_error("no record " + std::string(name));
  return *found;
}

std::vector<std::string> Capabilities() { return TheTable().capabilities; }

std::string_view OperationsJson() { return kOperationsJson; }

}  // namespace shardcts
