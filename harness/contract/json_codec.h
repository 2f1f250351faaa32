// Values as JSON: the form of traces, scripts and recordings (docs/formats.md). All functions are *Local*.
#pragma once

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "contract/outcome.h"
#include "contract/value.h"

namespace shardcts {

using Json = nlohmann::ordered_json;

struct EncodeOptions {
  bool references = false;  // values that have an origin become {"$ref": [...]}
  // Tensors of at most so many bytes carry them as `data`, all others only their digest.
  size_t largest_data = SIZE_MAX;
  // Is given the bytes of those others. False, or absent: they are not kept, and the text says so.
  std::function<bool(const std::string& digest, std::string_view bytes)> keep;
};
Json Encode(const Value& value, const EncodeOptions& options = {});
// {"value": …} or {"error": {…}}
Json EncodeOutcome(const Outcome& outcome, const EncodeOptions& options = {});

struct DecodeOptions {
  // The value that {"$ref": [step, key, …]} or "$name.path" stands for. Absent: references are an error.
  std::function<Value(const Json& reference)> resolve;
  // The bytes, so many, of a tensor whose text has only their digest. Absent: such a tensor is an error.
  std::function<std::string(const std::string& digest, size_t size)> bytes;
};
// Throws ContractViolation naming the place ("args.inputs[0]: …") when the text is not a value. Recursive: whoever reads
// the text limits its depth.
Value Decode(const Json& json, const DecodeOptions& options = {});

}  // namespace shardcts
