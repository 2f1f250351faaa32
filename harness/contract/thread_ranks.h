// Optional for a shared library that is an implementation: its ranks may be threads of one process.
#pragma once

// With this macro a library declares that several of its objects can be used at the same time, each from a thread of
// its own, as the ranks of one world. It communicates through ImplementationContext::communicator, and nothing that one
// rank does changes what another computes, random numbers included. Tests that upstream runs on threads then run on
// threads here too. More in docs/adapters.md, "Ranks as threads".
#define SHARDCTS_THREAD_RANKS() \
  extern "C" __attribute__((visibility("default"))) int shardcts_thread_ranks() { return 1; }
