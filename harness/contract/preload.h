// Optional for a shared library that is an implementation: one process loads what all ranks need.
#pragma once

#include <map>
#include <string>

// With this macro a library exports `shardcts_preload`, and so declares that a process which has called it may be
// forked. The ranks of a run are then forks of one process in which `preload(options)` has loaded what every rank
// needs. It gets the options of ImplementationContext, must not start threads or open devices, and may throw
// std::exception: then every rank loads for itself. `shardcts_create` is called after the fork. More in
// docs/adapters.md, "Warm start".
#define SHARDCTS_PRELOAD(preload)                                          \
  extern "C" __attribute__((visibility("default"))) void shardcts_preload( \
      const std::map<std::string, std::string>& options) {                 \
    preload(options);                                                      \
  }
