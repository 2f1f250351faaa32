// The door of the shared library libshardcts_reference.so.
#include "operations/reference_implementation.h"

namespace {

std::unique_ptr<shardcts::Implementation> Create(const shardcts::ImplementationContext& context) {
  return std::make_unique<shardcts::reference::ReferenceImplementation>(context);
}

}  // namespace

SHARDCTS_IMPLEMENTATION(Create)
