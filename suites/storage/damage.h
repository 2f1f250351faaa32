// Files of a checkpoint, damaged by chance or by somebody: which way, a seed says. *Local*, without the implementation.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace shardcts::storage {

struct CheckpointFiles {
  std::map<std::string, std::string> files;  // relative path -> content
  std::map<std::string, std::string> links;  // relative path -> where it points
};

CheckpointFiles FilesBelow(const std::string& folder);
// Into a folder that is made.
void WriteFiles(const CheckpointFiles& files, const std::string& folder);

struct Damaged {
  CheckpointFiles files;
  std::string text;  // what was done to which file
};

// One change: bits, cuts, bytes put in, left out or there twice, numbers as bytes and as text, names of JSON that are
// there twice or lead elsewhere, deep nesting, a file that is empty, missing or a link. `data`, bytes of tensors, stays
// as it is where the file's length does: that a change there is noticed is HX4.
Damaged Damage(const CheckpointFiles& right, const std::vector<std::string>& data, uint64_t seed);

// Numbers at the edges of their types and of what files have.
int64_t EdgeNumber(uint64_t choice);

}  // namespace shardcts::storage
