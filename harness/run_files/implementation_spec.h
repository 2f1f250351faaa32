// The text after `--impl`, as a value. Needs no LibTorch: the launcher reads it, the rank loads what it names.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace shardcts {

struct ImplementationSpec {
  // The normalized text: what results, reports and folders call the implementation. Options are sorted by key after
  // the device; device=cpu is left out: "torch+mutant=x,device=cuda,backend=nccl".
  std::string label;
  // What LoadImplementation takes: "reference", "torch", "python:MODULE:CLASS" or the absolute path of a library.
  std::string source;
  std::map<std::string, std::string> options;  // without device
  std::string device = "cpu";                  // the device type under test
  std::optional<std::string> mutant;           // name of the seeded bug; whether it exists is not looked up here

  bool operator==(const ImplementationSpec&) const = default;
};

// Local. Reads NAME[+mutant=NAME][,key=value]…, where NAME is reference, torch, python:MODULE:CLASS or PATH.so (a
// relative path counts from the current folder). Throws InputError with one line that names the text and, for an
// unknown name, all that is possible, for an unknown option of a shipped implementation the nearest known one. Whether a library or module exists is seen when it is loaded.
ImplementationSpec ParseImplementationSpec(std::string_view text);

}  // namespace shardcts
