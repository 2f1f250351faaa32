// An implementation whose constructor fails with a text of two lines.
#include <stdexcept>

#include "contract/implementation.h"

static std::unique_ptr<shardcts::Implementation> Fail(const shardcts::ImplementationContext&) {
  throw std::runtime_error("no licence\nfor this host");
}

SHARDCTS_IMPLEMENTATION(Fail)
