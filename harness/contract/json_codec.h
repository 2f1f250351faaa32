// Values as JSON: the form of traces, scripts and replays (docs/formats.md). All functions are *Local*.
#pragma once

#include <nlohmann/json.hpp>

#include <functional>
#include <map>
#include <set>
#include <string>

#include "contract/json_writer.h"
#include "contract/outcome.h"
#include "contract/value.h"

namespace shardcts {

using Json = nlohmann::ordered_json;

// Which tensor bytes go into the text.
enum class TraceData { kDigest, kInline, kFull };
inline constexpr size_t kInlineLimitBytes = 64 * 1024;

struct EncodeOptions {
  TraceData data = TraceData::kInline;
  bool references = false;                   // values that have an origin become {"$ref": [...]}
  bool handles = true;                       // false: handles become {"$handle": KIND}, without the id
  std::set<std::string>* written = nullptr;  // digests whose bytes stand in the file already; updated
};
void Encode(const Value& value, JsonWriter& json, const EncodeOptions& options = {});
// {"value": …} or {"error": {…}}
void EncodeOutcome(const Outcome& outcome, JsonWriter& json, const EncodeOptions& options = {});
Json Encode(const Value& value, const EncodeOptions& options = {});

struct DecodeOptions {
  // The value that {"$ref": [step, key, …]} or "$name.path" stands for. Absent: references are an error.
  std::function<Value(const Json& reference)> resolve;
  // Bytes by digest, of tensors whose text has none; see CollectTensorBytes.
  const std::map<std::string, std::string>* bytes = nullptr;
};
// Throws ContractViolation naming the place ("args.inputs[0]: …") when the text is not a value.
Value Decode(const Json& json, const DecodeOptions& options = {});

// Adds digest -> bytes for every tensor below `json` that carries its data. Data that does not match its digest throws
// ContractViolation.
void CollectTensorBytes(const Json& json, std::map<std::string, std::string>* bytes);

}  // namespace shardcts
