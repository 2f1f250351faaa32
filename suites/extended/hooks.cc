// Hooks: users' hooks on saving and loading.
#include "suites/extended/rule.h"
