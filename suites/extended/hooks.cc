// Hooks: users' hooks on saving and loading, and modules that are compiled.
#include <ATen/ATen.h>

#include "contract/dsd.h"
#include "contract/fsdp.h"
#include "suites/extended/exact.h"
#include "suites/extended/forms.h"
#include "suites/extended/rule.h"
#include "suites/extended/trees.h"

namespace shardcts::extended {
namespace {

const std::vector<std::string> kSaveEvents{"save_pre", "save_post"};
const std::vector<std::string> kLoadEvents{"load_pre", "load_post"};
const std::vector<std::string> kHookedPaths{"", "outer", "outer.inner", "last"};

std::string HookName(const std::string& event, const std::string& path) { return event + " of " + path; }

// The node with a hook for each event.
Dict WithHooks(Dict node, const std::string& path) {
  Dict hooks;
  for (const auto& events : {kSaveEvents, kLoadEvents}) {
    for (const std::string& event : events) hooks.Set(HookName(event, path), event);
  }
  node.Set("hooks", hooks);
  return node;
}

// Four modules with hooks, on three levels, and one without.
ModelSpec Hooked() {
  const Dict inner = WithHooks(LinearNode(5), "outer.inner");
  const Dict outer{{"kind", "sequential"}, {"children", Dict{{"inner", inner}, {"tail", LinearNode(3)}}}};
  const Dict root{{"kind", "sequential"},
                  {"children", Dict{{"outer", WithHooks(outer, "outer")}, {"last", WithHooks(LinearNode(2), "last")}}}};
  return TreeSpec(WithHooks(root, ""), {}, {"outer.inner", "outer"});
}

// The prefix of a module's entries, which a hook gets; load_post gets none.
std::string PrefixFor(const std::string& event, const std::string& path) {
  return path.empty() || event == "load_post" ? "" : path + ".";
}

// Each hook of these events ran once, with the prefix of its module's entries; no hook of the other events ran.
void RanOnce(Trial& t, const std::string& call, const Model& model, const std::vector<std::string>& events,
             const std::vector<std::string>& others) {
  const auto runs = model.HookRuns();
  const auto ran = [&](const std::string& event, const std::string& path) { return runs.at(HookName(event, path)); };
  for (const std::string& path : kHookedPaths) {
    const auto has_run = [&](const std::string& event, size_t expected) {
      t.Rule(Equal(fmt::format("{}: runs of {}", call, HookName(event, path)), expected, ran(event, path).size()));
    };
    for (const std::string& event : events) has_run(event, 1);
    for (const std::string& event : others) has_run(event, 0);
  }
  for (const std::string& path : kHookedPaths) {
    for (const std::string& event : events) {
      t.Rule(SameNames(fmt::format("{}: prefixes of {}", call, HookName(event, path)), {PrefixFor(event, path)},
                       ran(event, path)));
    }
  }
}

// TrainedStack, compiled at the root or at a layer.
Model BuildCompiled(Trial& t, int64_t number, const std::string& stack) {
  Model model = BuildCoded(t, TrainedStack());
  model.SetValues(ExactValues(number));
  const std::string path = stack == "root" ? "" : "1";
  Require(model.caller(), "model.wrap", {{"model", model.handle()}, {"path", path}, {"wrapper", "compile"}});
  if (stack == "layer_below_fully_shard") model.FullyShard("");
  if (stack == "layer_below_ddp") WrapDdp(model);
  return model;
}

}  // namespace

RULE(HK1) {
  const ModelSpec spec = Hooked();
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  Model saved = BuildWrapped(t, spec, wrapper);
  const Dict state = GetState(saved, form);
  RanOnce(t, "a get", saved, kSaveEvents, kLoadEvents);
  Model loaded = BuildWrapped(t, spec, wrapper);
  SetState(loaded, form, state);
  RanOnce(t, "a load", loaded, kLoadEvents, kSaveEvents);
}

RULE(HK2) {
  const std::string stack = t.TextParam("stack");
  const std::string form = t.TextParam("form");
  const std::string cut = stack == "root" || stack == "layer" ? "plain" : "fully_shard";  // of the batch
  Model source = BuildCompiled(t, 1, stack);
  const Dict saved = t.subject().Clone(GetState(source, form)).AsDict();
  Model model = BuildCompiled(t, 0, stack);
  if (t.BoolParam("called_before")) {
    OutputIsExact(t, "the first forward", 0, ForwardExact(t, model, cut), cut);
  }
  SetState(model, form, saved);
  for (const char* which : {"the next forward", "the one after it"}) {
    OutputIsExact(t, which, 1, ForwardExact(t, model, cut), cut);
  }
}

}  // namespace shardcts::extended
