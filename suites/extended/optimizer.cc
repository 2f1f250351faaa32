// Optimizer state: state by name, its layout and its way back.
#include "suites/extended/rule.h"
