// State dicts as bytes and back, in the role of torch.save and torch.load. Everything here is *Local*.
//
// The format is the reference's own: a magic line, the rank and world size of whoever wrote, then the bytes of one value
// (contract/value_bytes.h).
#pragma once

#include <cstdint>
#include <string>

#include "contract/value.h"

namespace shardcts::reference {

// The rank that saves or loads: a ShardedTensor can only be loaded by the same rank of a world of the same size.
struct RankOfWorld {
  int64_t rank = 0;
  int64_t world_size = 1;
};

// None, bool, int, double, string, bytes, list, dict, and all kinds of tensors. Devices are not kept.
// TypeError: a handle. RuntimeError: nested more than 64 deep.
std::string ToBytes(const Value& value, const RankOfWorld& writer);

// Every tensor has storage of its own, on the CPU. RuntimeError: data that ToBytes did not write, with the offset of
// the error; a ShardedTensor written by another rank, or in a world of another size.
Value FromBytes(const std::string& bytes, const RankOfWorld& reader);

}  // namespace shardcts::reference
