// Loading: strictness and errors: what is refused, what is ignored, and what is then in the model.
#include "suites/extended/rule.h"
