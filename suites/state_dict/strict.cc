// Missing and unexpected names, with and without strict.
#include <ATen/ATen.h>

#include "contract/fsdp.h"
#include "suites/state_dict/comparisons.h"
#include "suites/state_dict/ports.h"
#include "suites/state_dict/save_and_load.h"

namespace shardcts::state_dict {

// The failed load changes upstream's state dict, so that its later loads under DDP look for wrapped names. Here a load
// does not change the state dict, and names never contain a wrapper.
PORT(test_strict) {
  t.subject().Seed(1234);
  Model model = CompositeParam(t);
  if (t.TextParam("parallelism") == "ddp") {
    WrapDdp(model);
  } else {
    model.FullyShard("");
  }
  Dict state_dict = GetModelStateDict(model);
  state_dict.Set("abc", at::zeros({10}));
  t.Raises("C1", "RuntimeError", "Unexpected key", [&] { SetModelStateDict(model, state_dict); });

  const std::string removed = "p";  // CompositeParam's first entry
  state_dict.Erase(removed);
  LoadResult result;
  t.NoError("C4", [&] { result = SetModelStateDict(model, state_dict, {.strict = false}); });
  t.Check("C2", SameNames("missing keys", {removed}, result.missing_keys));
  t.Check("C3", SameNames("unexpected keys", {"abc"}, result.unexpected_keys));

  state_dict.Erase("abc");
  t.Raises("C5", "RuntimeError", "Missing key", [&] { SetModelStateDict(model, state_dict); });
}

}  // namespace shardcts::state_dict
