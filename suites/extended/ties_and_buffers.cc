// Tied tensors, buffers and extra state: several names of a tensor, and what is no parameter.
#include "suites/extended/rule.h"
