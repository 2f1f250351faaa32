// Trajectories: training that goes on after a load.
#include "suites/extended/rule.h"
