// The table of operations (operations.json) as C++ data. All functions are *Local*.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shardcts {

// The type of an argument that names a folder below the test's own (Session::Call).
inline constexpr std::string_view kFolder = "folder";

// An argument of an operation, or a field of a record.
struct FieldSpec {
  std::string name;
  std::string type;                 // "list of int", "handle model", "record fsdp_options", "tensor or dtensor", ...
  bool required = false;
  std::vector<std::string> values;  // allowed values of a string; empty: all
  std::optional<int64_t> min;       // smallest allowed value of an int
};

// A dict with known fields: its own `fields`, or those of another record, which is selected by the string field `by`.
// That field is looked up in the dict itself, then in the enclosing dicts from the innermost outwards, last in the
// operation's arguments.
struct RecordSpec {
  std::string name;
  std::vector<FieldSpec> fields;
  std::string by;                            // empty: `fields` are its own
  std::map<std::string, std::string> cases;  // value of that field -> name of the record
};

struct OperationSpec {
  std::string name;       // "model.state_dict"
  std::string group;
  std::string capability;
  bool collective = false;
  std::vector<FieldSpec> arguments;
  std::string result_type;
};

const std::vector<OperationSpec>& Operations();
const OperationSpec* FindOperation(std::string_view name);  // nullptr: no such operation
// `unknown operation "model.wrp"; the nearest known one is "model.wrap"`
std::string UnknownOperation(std::string_view name);
const RecordSpec& RecordNamed(std::string_view name);  // must be in the table
std::vector<std::string> Capabilities();

// The text of operations.json.
std::string_view OperationsJson();

}  // namespace shardcts
