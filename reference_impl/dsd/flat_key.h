// The components of the keys of flat state dicts: how keys of nested dicts are written and read. *Local*.
//
// An int is written as its digits; text as it is, but in double quotes where it would be read as something else: digits,
// a dot, a quote, or nothing. So {"pre": {0: a, "0": b, "a.b": c}} has the keys pre.0, pre."0" and pre."a.b".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "contract/value.h"

namespace shardcts::reference {

std::string FlatComponent(const Key& key);
std::vector<Key> FlatComponents(std::string_view text);

}  // namespace shardcts::reference
