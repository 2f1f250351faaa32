#include "results/known_differences.h"

#include <algorithm>
#include <set>

#include "inventory/embedded_suites.h"
#include "results/toml_entries.h"

namespace shardcts {
namespace {

const std::set<std::string_view> kFields{"test", "implementation", "reason", "evidence"};

KnownDifference Read(const TomlEntry& entry, const std::vector<TestCase>& tests) {
  entry.CheckFields(kFields, {"versions"});
  KnownDifference difference{entry.Place(), entry.Text("test"), entry.Text("implementation"), entry.Text("reason"),
                             entry.Text("evidence"), entry.Versions()};
  const bool fits = std::ranges::any_of(tests, [&](const TestCase& test) { return FitsWhole(difference.test, test.id); });
  if (!fits) entry.Fail(*entry.table().get("test"), "no test fits " + Quoted(difference.test));
  return difference;
}

}  // namespace

std::vector<KnownDifference> ParseKnownDifferences(const std::string& text, const std::string& file_name,
                                                   const std::vector<TestCase>& tests) {
  std::vector<KnownDifference> known;
  ForEachEntry(ParseToml(text, file_name), file_name, "difference",
               [&](const toml::table& table) { known.push_back(Read(TomlEntry(file_name, table), tests)); });
  return known;
}

std::vector<KnownDifference> LoadKnownDifferences() {
  std::vector<KnownDifference> known;
  for (const EmbeddedSuite& suite : EmbeddedSuites()) {
    const std::string file = "suites/" + suite.name + "/deviations.toml";
    for (KnownDifference& one : ParseKnownDifferences(suite.deviations, file, AllTests())) known.push_back(std::move(one));
  }
  return known;
}

const KnownDifference* FindKnownDifference(const std::vector<KnownDifference>& known, const TestCase& test,
                                           const std::vector<ComparedImplementation>& implementations) {
  const auto found = std::ranges::find_if(known, [&](const KnownDifference& one) {
    const auto is_named = [&](const ComparedImplementation& implementation) {
      return FitsWhole(one.implementation, implementation.source) &&
             (!one.versions || one.versions->Contains(implementation.version));
    };
    return FitsWhole(one.test, test.id) && std::ranges::any_of(implementations, is_named);
  });
  return found == known.end() ? nullptr : &*found;
}

}  // namespace shardcts
