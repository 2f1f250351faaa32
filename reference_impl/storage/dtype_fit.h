// Which dtypes hold all values of another. *Local*.
#pragma once

#include <c10/core/ScalarType.h>

namespace shardcts::reference {

// Whether each value of `saved` is one of `held`: a float has places for all digits of an integer.
bool FitsInto(at::ScalarType saved, at::ScalarType held);

}  // namespace shardcts::reference
