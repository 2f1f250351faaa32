#include "suites/storage/worlds.h"

#include <algorithm>
#include <numeric>

#include "inventory/phases.h"

namespace shardcts::storage {
namespace {

std::vector<int64_t> AllRanks(const Trial& t) {
  std::vector<int64_t> ranks(static_cast<size_t>(t.world_size()));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

}  // namespace

World::World(Trial& t, std::vector<int64_t> ranks, std::vector<int64_t> mesh_shape) : t_(t), ranks_(std::move(ranks)) {
  if (mesh_shape.empty()) mesh_shape = {static_cast<int64_t>(ranks_.size())};
  const bool is_pool = ranks_ == AllRanks(t);
  if (!is_pool) group_ = NewGroup(t.caller(), ranks_);
  layout_ = t.subject().InitMesh(mesh_shape, {}, is_pool ? std::vector<int64_t>() : ranks_).Layout();
}

bool World::Has(int64_t rank) const { return std::ranges::count(ranks_, rank) > 0; }

void World::Do(const std::function<void()>& body) const {
  if (!group_) return body();
  t_.Among(ranks_, body);
}

void World::Save(const Dict& state, const std::string& path, SaveOptions options) const {
  options.group = group_;
  Do([&] { SaveCheckpoint(t_.caller(), state, path, options); });
}

Dict World::Load(const Dict& destination, const std::string& path, CheckpointLoadOptions options) const {
  options.group = group_;
  Dict loaded;
  Do([&] { loaded = LoadCheckpoint(t_.caller(), destination, path, options); });
  return loaded;
}

void Rank0Does(Trial& t, const std::function<void()>& change) {
  t.AllGather(Value());
  if (t.rank() == 0) change();
  t.AllGather(Value());
}

bool Saves(const Trial& t) { return t.Phase().role == "save"; }

std::string FormatOf(const Trial& t) {
  const std::string format = t.TextParam("format");
  return format == "default" ? std::string() : format;
}

World FirstRanks(Trial& t, int64_t count, std::vector<int64_t> mesh_shape) {
  std::vector<int64_t> ranks = AllRanks(t);
  if (count > 0) ranks.resize(static_cast<size_t>(count));
  return World(t, ranks, std::move(mesh_shape));
}

}  // namespace shardcts::storage
