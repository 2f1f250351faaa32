// What rules about names, ties, buffers and dtypes share: models from a description, and state dicts in every form.
#pragma once

#include <string_view>

#include "suites/extended/forms.h"
#include "suites/extended/twin.h"
#include "suites/extended/wrapping.h"

namespace shardcts::extended {

// {"kind": "linear", "out": out}, and what `further` adds.
Dict LinearNode(int64_t out, const Dict& further = {});
// A parameter or a buffer of a description: {"shape": …, "dtype": …}, and what `further` adds.
Dict TensorNode(std::vector<int64_t> shape, std::string_view dtype = "float32", const Dict& further = {});
// A module without a layer.
Dict BareNode(const Dict& parameters, const Dict& buffers = {});

// The model "tree" with this root; `args` are its other arguments.
ModelSpec TreeSpec(Dict root, const Dict& args = {}, std::vector<std::string> units = {});

// The entries as every rank must see them: of a form that gives them to rank 0 those of rank 0, after the others have
// been seen to have none. *Collective*.
Dict ForAllRanks(Trial& t, std::string_view form, const Dict& state);

// Loads what a coded model gives in this form into one whose values are all 0, on every rank; returns it. *Collective*.
Model LoadedFromCoded(Trial& t, const ModelSpec& spec, std::string_view wrapper, std::string_view form);

// Whether these are the entries, once the parts of all ranks are assembled; their order does not count (rule NA3).
// *Collective*.
bool HasEntries(Trial& t, std::string_view what, const Dict& expected, const Dict& actual);
// The same of the state that the model gives in this form. *Collective*.
bool HasState(Trial& t, std::string_view what, const Dict& expected, Model& model, std::string_view form);

}  // namespace shardcts::extended
