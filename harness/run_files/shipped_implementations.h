// The implementations that are shipped: the one table of their names, libraries and options.
#pragma once

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace shardcts {

struct ShippedImplementation {
  std::string_view name;           // what follows --impl
  std::string_view library;        // one of ours (program_folder.h); empty: a class in Python
  std::string_view python_module;
  std::string_view python_class;
  std::vector<std::string_view> options;  // in addition to device; comm selects the harness's communicator
  // +mutant=NAME is one of the library's own, which it gets as the option `mutant`; only developers need it.
  bool has_own_mutants = false;
};

inline constexpr std::string_view kMutatedReference = "reference-mutant";

inline const ShippedImplementation kShippedImplementations[] = {
    {"reference", "libshardcts_reference.so", "", "", {"comm", "import", "timings"}},
    {kMutatedReference, "libshardcts_reference_mutants.so", "", "", {"comm", "import", "reached", "timings"}, true},
    {"torch", "", "shardcts.torch_adapter", "TorchAdapter",
     {"backend", "bind", "comm", "grad_writeback", "import", "optim_gather", "share", "timeout_s"}},
};

// nullptr: none has this name.
inline const ShippedImplementation* FindShipped(std::string_view name) {
  const auto found = std::ranges::find(kShippedImplementations, name, &ShippedImplementation::name);
  return found == std::end(kShippedImplementations) ? nullptr : &*found;
}

// "reference, torch, python:MODULE:CLASS, PATH.so"
inline std::string PossibleImplementations() {
  std::string possible;
  for (const ShippedImplementation& shipped : kShippedImplementations) {
    if (!shipped.has_own_mutants) possible += std::string(shipped.name) + ", ";
  }
  return possible + "python:MODULE:CLASS, PATH.so";
}

}  // namespace shardcts
