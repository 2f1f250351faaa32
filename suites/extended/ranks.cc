// Ranks and groups: groups of some ranks, and ranks that differ.
#include "suites/extended/rule.h"
