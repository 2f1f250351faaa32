// What the mutants of the suite storage are written with. *Local* unless an operation inside is collective.
#pragma once

#include <functional>
#include <string>

#include "mutants/mutate.h"

namespace shardcts {

// A row whose mutant the tests of that rule must notice.
MutantRow StorageRule(const std::string& rule, std::string name, std::string description, std::string models,
                      Mutation mutation, int min_world_size = 1);

// The memory of a plain tensor or a DTensor; nullptr: neither.
at::Tensor* LocalOf(Value& value);
// Calls `change` with every value that is neither a dict nor a list.
void ForEachLeaf(Value& tree, const std::function<void(Value&)>& change);
void ForEachLocal(Value& tree, const std::function<void(at::Tensor&)>& change);

// Changes the state dict that is saved, that a load gives, that is read.
Mutation OnSavedDict(std::function<void(MutantState&, Dict& arguments, Dict& saved)> change);
Mutation OnLoadedDict(std::function<void(MutantState&, const Dict& arguments, Value& loaded)> change);
Mutation OnReadDict(std::function<void(MutantState&, const Dict& arguments, Value& read)> change);
// After the operation, unless it failed.
Mutation After(const std::string& wanted, std::function<void(MutantState&, Dict& arguments)> act);

using Swallowing = std::function<bool(MutantState&, const Dict& arguments, const Error&)>;
// An error of the operation is not told where this says so.
Mutation Swallow(const std::string& wanted, Swallowing when);
Swallowing MessageHas(std::string text);
// An error of a load that has succeeded, where this says so.
Mutation RefuseLoads(std::function<bool(MutantState&, const Dict& arguments)> when, std::string message);

// Families of further files.
std::vector<MutantRow> CheckpointPortMutants();

}  // namespace shardcts
