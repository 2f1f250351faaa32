// What an implementation provides, and the entry points of a shared library that is one.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "contract/outcome.h"
#include "contract/version.h"

namespace shardcts {

class Communicator;

// What one rank is told when its implementation object is created.
struct ImplementationContext {
  int rank = 0;
  int world_size = 1;
  int local_rank = 0;                          // index among the ranks of this host
  std::string device = "cpu";                  // "cpu", "cuda": the device type under test
  std::map<std::string, std::string> options;  // `--impl NAME,key=value`, without device
  std::string run_folder;                      // shared by all ranks; rendezvous files may be put there
  // Over all ranks of the pool, for the use of the implementation alone, which may bring its own instead. It outlives
  // the implementation.
  Communicator* communicator = nullptr;
};

// One object per rank and pool. Called from one thread.
class Implementation {
 public:
  virtual ~Implementation() = default;

  // Runs one operation of the table (operations.json, docs/contract.md). `arguments` has the arguments of the table; an
  // optional argument may be absent and then has its default. *Collective* where the table says so: then every rank of
  // the pool calls it, in the same order. Must not throw.
  virtual Outcome Invoke(std::string_view operation, const Dict& arguments) = 0;
};

}  // namespace shardcts

// A shared library that is an implementation exports these two functions. `shardcts_create` may throw std::exception;
// its text becomes the one-line error of the run.
#define SHARDCTS_IMPLEMENTATION(create)                                                                      \
  extern "C" __attribute__((visibility("default"))) const char* shardcts_contract_abi() {                    \
    return SHARDCTS_CONTRACT_ABI;                                                                            \
  }                                                                                                          \
  extern "C" __attribute__((visibility("default"))) ::shardcts::Implementation* shardcts_create(             \
      const ::shardcts::ImplementationContext& context) {                                                    \
    std::unique_ptr<::shardcts::Implementation> made = create(context);                                      \
    return made.release();                                                                                   \
  }
