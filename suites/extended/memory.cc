// Memory: what the calls allocate.
#include "suites/extended/rule.h"
