// Position-coded data, by the names of this suite.
#pragma once

#include "suites/rules/coded.h"

namespace shardcts::extended {

using rules::Coded;
using rules::CodedLike;
using rules::kFirstMoment;
using rules::kSecondMoment;

}  // namespace shardcts::extended
