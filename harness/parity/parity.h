// Parity: two recordings of the same test compared operation by operation, tensor by tensor. *Local*.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "contract/compare.h"
#include "contract/json_codec.h"

namespace shardcts {

struct ParityDetail {
  int64_t step = 0;
  std::string operation;
  int rank = 0;
  Difference difference;
};

// Counts are over all ranks. `different` counts tensors and other values whose content differs beyond PyTorch's default
// tolerance of the dtype; `structural` everything that differs in kind: operations, errors, keys and their order
// (but for state names where it is chance: state_name_order.h), dtype, shape, placement.
struct Parity {
  int64_t operations = 0;
  int64_t tensors = 0;
  int64_t identical = 0;  // bit for bit
  int64_t close = 0;      // within the tolerance
  int64_t different = 0;
  int64_t structural = 0;
  std::vector<ParityDetail> details;  // the first 50

  bool Agree() const { return different == 0 && structural == 0; }
  std::string FirstDifference() const;  // one line; of the differences that count, else of a close one; empty: none
};

// `expected`, `actual`: merged traces (docs/formats.md). Throws ContractViolation or Json::exception for other files.
Parity CompareRecordings(const Json& expected, const Json& actual);

// The object `parity` of results.json, without `against`. Reads both files; throws InputError naming the file.
Json CompareTraceFiles(const std::filesystem::path& expected, const std::filesystem::path& actual);

Json ToJson(const Parity& parity);

}  // namespace shardcts
