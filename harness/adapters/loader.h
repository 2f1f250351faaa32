// Loads every implementation, our own included, through the same entry points: a shared library that exports
// `shardcts_contract_abi` and `shardcts_create` (contract/implementation.h). Python is reached through it as well:
// libshardcts_python.so is such a library, so a rank that runs anything else never loads Python.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "contract/implementation.h"

namespace shardcts {

// An implementation together with the library that it came from. Libraries are never unloaded: tensors, autograd
// nodes and threads that they made may outlive the implementation. The object must be destroyed before std::exit or the
// return from main, on the thread that ends (an embedded Python could not end otherwise); std::_Exit needs no such
// care.
class LoadedImplementation final : public Implementation {
 public:
  LoadedImplementation(std::string library, std::unique_ptr<Implementation> implementation);

  // What the library throws, against the contract, becomes an error of kind ContractViolation.
  Outcome Invoke(std::string_view operation, const Dict& arguments) override;

  const std::string& library() const { return library_; }  // absolute path

 private:
  std::string library_;
  std::unique_ptr<Implementation> implementation_;
};

// `source`: one of run_files/shipped_implementations.h (next to the running program or in ../lib/shardcts),
// "python:MODULE:CLASS" or "PATH.so"; see ImplementationSpec::source. `context` is copied if it is needed later,
// its communicator must outlive the result.
// *Collective* over the ranks of the context (implementations may set up process groups).
// Throws InputError, one line that names the library or module and what is wrong with it: no such file, no entry
// point, another contract ABI, a module that cannot be imported, a class that is missing, a constructor that raised.
// CommunicationError of the context's communicator passes through.
std::unique_ptr<LoadedImplementation> LoadImplementation(const std::string& source,
                                                         const ImplementationContext& context);

// *Local*. Loads what every rank of this implementation needs, so that ranks can be forked from this process
// (contract/preload.h). Throws InputError like LoadImplementation, and when the library does
// not offer it.
void PreloadImplementation(const std::string& source, std::map<std::string, std::string> options);

}  // namespace shardcts
