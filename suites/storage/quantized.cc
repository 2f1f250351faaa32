// Weights that another program has stored in blocks with a factor each.
#include <ATen/ATen.h>

#include "contract/tensor_bytes.h"
#include "suites/storage/placed.h"
#include "suites/storage/rule.h"
#include "suites/storage/safetensors_files.h"

namespace shardcts::storage {
namespace {

constexpr int64_t kBlock = 128;  // rows and columns with one factor

}  // namespace

RULE(FM11) {
  const at::Tensor stored = at::arange(300 * 130, at::kFloat).remainder(7).add(1).view({300, 130});
  const at::Tensor factors = at::arange(1, 7, at::kFloat).view({3, 2});  // another one for each block
  const at::Tensor spread = factors.repeat_interleave(kBlock, 0).repeat_interleave(kBlock, 1);
  const at::Tensor product = stored * spread.narrow(0, 0, 300).narrow(1, 0, 130);
  const std::string name = "layer.weight";
  Rank0Does(t, [&] {
    WriteIndexedSafetensors(t.Folder("checkpoint"), {{name, stored}, {name + "_scale_inv", factors}});
  });
  const World world = FirstRanks(t);
  const std::vector<Placement> placements = PlacementsOf(t.TextParam("placements"));
  const auto part = [&](const at::Tensor& whole) { return PartOf(whole, world.layout(), placements, t.rank()); };
  const Dict loaded = world.Load({{name, part(at::zeros_like(stored))}}, "checkpoint",
                                 {.format = "safetensors", .block_size = kBlock});
  t.Rule(SameValue(name, part(product), loaded.At(name)));
}

RULE(FM15) {
  const at::Tensor stored = at::arange(24, at::kFloat).remainder(7).add(1).view({6, 4}).to(at::kFloat8_e4m3fn);
  const at::Tensor factors = at::arange(1, 7, at::kFloat).view({3, 2});
  const at::Tensor product = stored.to(at::kFloat) * factors.repeat_interleave(2, 0).repeat_interleave(2, 1);
  const std::string name = "layer.weight";
  Rank0Does(t, [&] {
    WriteIndexedSafetensors(t.Folder("checkpoint"), {{name, stored}, {name + "_scale_inv", factors}});
  });
  const World world = FirstRanks(t);
  const std::vector<Placement> rows = PlacementsOf("S0");
  const auto part = [&](const at::Tensor& whole) { return PartOf(whole, world.layout(), rows, t.rank()); };
  const at::ScalarType dtype = *ParseDtype(t.TextParam("dtype"));
  const Dict loaded = world.Load({{name, part(at::zeros({6, 4}, dtype))}}, "checkpoint",
                                 {.format = "safetensors", .block_size = 2});
  t.Rule(SameValue(name, part(product.to(dtype)), loaded.At(name)));
}

}  // namespace shardcts::storage
