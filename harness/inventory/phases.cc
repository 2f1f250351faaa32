#include "inventory/phases.h"

#include <algorithm>

#include "contract/nearest_name.h"
#include "inventory/grid.h"
#include "inventory/inventory.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxPhases = 8;
constexpr size_t kMaxCombinations = 10'000;
// "crash": the implementation under test runs it, one pool after another, until one of them comes to its end: each of
// the others ends with the death of a rank that the test has asked for (run_files/death_note.h).
const std::vector<std::string> kRoles = {"save", "load", "crash"};

// Every combination of one phase's values.
std::vector<TestPhase> ParsePhase(const JsonPlace& place, size_t index) {
  TestPhase phase;
  phase.index = index;
  const JsonPlace role = place.Member("role");
  phase.role = role.Text();
  if (!std::ranges::count(kRoles, phase.role)) role.Fail(UnknownName("role", phase.role, kRoles));
  const JsonPlace world = place.Member("world");
  const std::vector<int> sizes = world.json->is_array() ? world.WorldSizes() : std::vector{world.WorldSize()};
  for (const char* wrong : {"world_size", "world_sizes"}) {
    if (place.Has(wrong)) place.At(wrong).Fail("a phase says \"world\"");
  }
  std::vector<TestPhase> phases;
  for (int size : sizes) {
    for (const Json& params : ExpandGrid(ParseGridLists(place, {"role", "world"}))) {
      phase.world_size = size;
      phase.params = params;
      phases.push_back(phase);
    }
  }
  return phases;
}

std::string PhaseText(const TestPhase& phase) {
  std::string params;
  for (const auto& [key, value] : phase.params.items()) {
    params += (params.empty() ? "(" : ",") + key + "=" + ValueText(value);
  }
  return phase.role + "=" + std::to_string(phase.world_size) + params + (params.empty() ? "" : ")");
}

}  // namespace

std::vector<TestRanks> ParsePhases(const JsonPlace& place) {
  const std::vector<JsonPlace> elements = place.Elements();
  if (elements.empty() || elements.size() > kMaxPhases) place.Fail("expected 1 to 8 phases");
  std::vector<TestRanks> all(1);
  for (const JsonPlace& element : elements) {
    const std::vector<TestPhase> choices = ParsePhase(element, all.front().phases.size());
    std::vector<TestRanks> longer;
    if (all.size() * choices.size() > kMaxCombinations) place.Fail("more than 10000 combinations");
    for (const TestRanks& begin : all) {
      for (const TestPhase& phase : choices) {
        longer.push_back(begin);
        longer.back().phases.push_back(phase);
        longer.back().world_size = std::max(longer.back().world_size, phase.world_size);
      }
    }
    all = std::move(longer);
  }
  return all;
}

std::vector<TestRanks> ParseTestRanks(const JsonPlace& owner) {
  if (!owner.Has("phases")) {
    std::vector<TestRanks> all;
    if (!owner.Has("world_sizes")) return all;
    for (int size : owner.At("world_sizes").WorldSizes()) all.push_back({size});
    return all;
  }
  if (owner.Has("world_sizes")) owner.At("world_sizes").Fail("phases say their world sizes themselves");
  return ParsePhases(owner.At("phases"));
}

std::string RanksText(const TestRanks& ranks) {
  if (ranks.phases.empty()) return "world_size=" + std::to_string(ranks.world_size);
  std::string text;
  for (const TestPhase& phase : ranks.phases) text += (text.empty() ? "" : ",") + PhaseText(phase);
  return text;
}

std::string PhaseName(const TestCase& test, size_t phase, const std::string& label) {
  const TestPhase& named = test.phases.at(phase);
  return "phase " + std::to_string(phase + 1) + " of " + std::to_string(test.phases.size()) + " (" + named.role + ", " +
         std::to_string(named.world_size) + (named.world_size == 1 ? " rank" : " ranks") +
         (label.empty() ? "" : ", " + label) + ")";
}

TestCase CaseOfPhase(const TestCase& test, size_t phase) {
  if (test.phases.empty()) return test;
  TestCase part = test;
  part.world_size = test.phases.at(phase).world_size;
  std::erase_if(part.checks, [&](const InventoryCheck& check) {
    return check.phase.value_or(test.phases.size() - 1) != phase;
  });
  return part;
}

}  // namespace shardcts
