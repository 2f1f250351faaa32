// State machine: state dicts at every point of a training step.
#include "suites/extended/rule.h"
