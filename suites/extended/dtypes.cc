// Dtype, device and requires_grad: of entries, and of what was loaded.
#include "suites/extended/rule.h"
