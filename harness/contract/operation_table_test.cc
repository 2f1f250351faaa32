#include "contract/operation_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace shardcts {
namespace {

TEST(OperationTable, NamesAreUniqueAndCapabilitiesKnown) {
  std::set<std::string> names;
  const std::vector<std::string> capabilities = Capabilities();
  for (const OperationSpec& operation : Operations()) {
    EXPECT_TRUE(names.insert(operation.name).second) << operation.name;
    EXPECT_NE(std::ranges::find(capabilities, operation.capability), capabilities.end()) << operation.name;
  }
  EXPECT_GT(names.size(), 25u);
}

TEST(OperationTable, UnknownOperation) {
  EXPECT_EQ(FindOperation("model.explode"), nullptr);
  EXPECT_EQ(UnknownOperation("model.wrp"), "unknown operation \"model.wrp\"; the nearest known one is \"model.wrap\"");
}

// Every record that a type or a case names, "list of record parameter_group" included.
TEST(OperationTable, RecordsAreThere) {
  int found = 0;
  const auto check = [&](const std::vector<FieldSpec>& fields) {
    for (const FieldSpec& field : fields) {
      if (const size_t start = field.type.find("record "); start != std::string::npos) {
        EXPECT_NO_THROW(RecordNamed(field.type.substr(start + 7))) << field.name;
        ++found;
      }
    }
  };
  for (const OperationSpec& operation : Operations()) check(operation.arguments);
  for (const auto& [wrapper, record] : RecordNamed("wrap_options").cases) check(RecordNamed(record).fields);
  EXPECT_GT(found, 20);
  EXPECT_THROW(RecordNamed("options"), std::logic_error);
}

}  // namespace
}  // namespace shardcts
