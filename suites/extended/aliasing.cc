// Aliasing and purity: what a get or a load may change, and what shares storage.
#include "suites/extended/rule.h"
