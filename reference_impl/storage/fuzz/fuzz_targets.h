// The readers of checkpoints as functions of bytes, for fuzzing. *Local*.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace shardcts::reference {

struct FuzzTarget {
  std::string_view name;
  // Reads the bytes, whatever they are. An error that the reader tells is fine; anything else gets out.
  void (*read)(const std::string& bytes);
};

// metadata (.metadata), tensor and value (items of data files), safetensors (a file), manifest (checkpoint.json).
extern const std::array<FuzzTarget, 5> kFuzzTargets;

}  // namespace shardcts::reference
