#include "parallel/parallelize.h"

#include <fnmatch.h>

#include "parallel/tensor_parallel_layers.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

// A layer that the plan names, as its parent's child.
struct Target {
  models::Module* parent;
  std::string name;
  ParallelStyle style;
};

std::string ClassOf(ParallelStyle style) {
  switch (style) {
    case ParallelStyle::kColwise: return "ColwiseParallel";
    case ParallelStyle::kRowwise: return "RowwiseParallel";
    case ParallelStyle::kSequence: return "SequenceParallel";
  }
  return "?";
}

void CheckLayer(const models::Module& layer, ParallelStyle style) {
  const std::string wanted = style == ParallelStyle::kSequence ? "LayerNorm" : "Linear";
  const bool is_parallel = dynamic_cast<const ParallelLayer*>(&layer) != nullptr;
  if (layer.type_name() == wanted && !layer.HasForwardHooks() && !layer.extension() && !is_parallel) return;
  throw SemanticError("NotImplementedError", ClassOf(style) + " supports a " + wanted + " that is not wrapped, not " +
                                                 layer.type_name() + (is_parallel ? " that is parallel already" : ""));
}

// Appends the modules below `parent` that match the path; true if there is one.
bool FindTargets(models::Module& parent, const std::string& path, ParallelStyle style, std::vector<Target>& targets) {
  const size_t dot = path.find('.');
  const std::string pattern = path.substr(0, dot);
  bool found = false;
  for (const auto& [name, child] : parent.children()) {
    if (fnmatch(pattern.c_str(), name.c_str(), 0) != 0) continue;
    if (dot != std::string::npos) {
      found = FindTargets(*child, path.substr(dot + 1), style, targets) || found;
      continue;
    }
    CheckLayer(*child, style);
    targets.push_back({&parent, name, style});
    found = true;
  }
  return found;
}

models::ModulePtr MakeParallel(const models::Module& plain, ParallelStyle style,
                               const std::shared_ptr<DeviceMesh>& mesh) {
  switch (style) {
    case ParallelStyle::kColwise: return std::make_shared<ColwiseLinear>(plain, mesh);
    case ParallelStyle::kRowwise: return std::make_shared<RowwiseLinear>(plain, mesh);
    case ParallelStyle::kSequence: return std::make_shared<SequenceLayerNorm>(plain, mesh);
  }
  return nullptr;
}

}  // namespace

ParallelStyle ParseParallelStyle(const std::string& text) {
  if (text == "colwise") return ParallelStyle::kColwise;
  if (text == "rowwise") return ParallelStyle::kRowwise;
  if (text == "sequence") return ParallelStyle::kSequence;
  throw SemanticError("ValueError", "no parallel style is called '" + text + "'");
}

std::vector<std::string> Parallelize(models::Module& root, const std::shared_ptr<DeviceMesh>& mesh,
                                     const ParallelPlan& plan) {
  if (mesh->NumDims() != 1) {
    throw SemanticError("ValueError", "tensor parallelism needs a 1-D mesh, not " + mesh->layout().ToString());
  }
  std::vector<Target> targets;
  std::vector<std::string> warnings;
  for (const auto& [path, style] : plan) {
    if (path.empty()) throw SemanticError("NotImplementedError", "a plan for the root itself");
    if (!FindTargets(root, path, style, targets)) {
      warnings.push_back("Parallelize plan key '" + path + "' names no submodule, skipping this plan entry.");
    }
  }
  for (const Target& target : targets) {
    const models::ModulePtr plain = target.parent->child(target.name);
    if (dynamic_cast<const ParallelLayer*>(plain.get())) continue;  // by another of its paths
    models::ReplaceEverywhere(root, plain, MakeParallel(*plain, target.style, mesh));
  }
  return warnings;
}

}  // namespace shardcts::reference
