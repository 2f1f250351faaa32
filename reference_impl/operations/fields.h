// Reads a dict whose names and types the table of operations has checked: arguments, or options.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "contract/tensor_bytes.h"
#include "contract/value.h"

namespace shardcts::reference {

class Fields {
 public:
  // Refers to the dict.
  explicit Fields(const Dict& dict) : dict_(dict) {}

  // nullptr when it is absent or none.
  const Value* Find(const std::string& name) const {
    const Value* value = dict_.Find(name);
    return value && !value->IsNone() ? value : nullptr;
  }
  bool Flag(const std::string& name, bool default_value) const {
    const Value* value = Find(name);
    return value ? value->AsBool() : default_value;
  }
  double Number(const std::string& name, double default_value) const {
    const Value* value = Find(name);
    return value ? value->AsDouble() : default_value;
  }
  std::optional<at::ScalarType> Dtype(const std::string& name) const {
    const Value* value = Find(name);
    return value ? ParseDtype(value->AsString()) : std::nullopt;
  }
  // A list of strings; empty when it is absent.
  std::vector<std::string> Texts(const std::string& name) const {
    const Value* value = Find(name);
    return value ? value->AsStrings() : std::vector<std::string>();
  }
  // A nested record; one without fields when it is absent.
  Fields Record(const std::string& name) const {
    static const Dict kNothing;
    const Value* value = Find(name);
    return Fields(value ? value->AsDict() : kNothing);
  }

 private:
  const Dict& dict_;
};

}  // namespace shardcts::reference
