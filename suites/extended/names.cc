// Names: the names of entries, their order, and their way through wrappers.
#include "suites/extended/rule.h"
