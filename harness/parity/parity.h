// Parity: two recordings of the same test compared operation by operation, tensor by tensor. *Local*.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "contract/compare.h"
#include "contract/json_codec.h"
#include "recording/recording.h"

namespace shardcts {

struct ParityDetail {
  size_t phase = 0;  // from 1; 0: the recordings have no phases
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

  void AddCounts(const Parity& other);  // not the details
  bool Agree() const { return different == 0 && structural == 0; }
  std::string Counts() const;           // one line
  std::string FirstDifference() const;  // one line; of the differences that count, else of a close one; empty: none
};

// Throws InputError for what is no recording, and for a blob that is damaged.
Parity CompareRecordings(const Recording& expected, const Recording& actual);

// Of two recordings as ReadRecording takes them. Throws InputError naming them.
Parity CompareTraces(const std::filesystem::path& expected, const std::filesystem::path& actual);

// The object `parity` of results.json, without `against`.
Json ToJson(const Parity& parity);

}  // namespace shardcts
