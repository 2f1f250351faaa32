// The door of the shared library libshardcts_reference.so.
#include "contract/preload.h"
#include "operations/reference_implementation.h"

namespace {

std::unique_ptr<shardcts::Implementation> Create(const shardcts::ImplementationContext& context) {
  return std::make_unique<shardcts::reference::ReferenceImplementation>(context);
}

// LibTorch comes with the library itself.
void Preload(const std::map<std::string, std::string>& options) {}

}  // namespace

SHARDCTS_IMPLEMENTATION(Create)
SHARDCTS_PRELOAD(Preload)
