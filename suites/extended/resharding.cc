// Resharding in one run: state of one wrapper and world loaded into another.
#include "suites/extended/rule.h"
