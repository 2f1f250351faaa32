#include "results/waiver_file.h"

#include <toml++/toml.h>
#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>

#include "inventory/embedded_suites.h"
#include "inventory/selection.h"
#include "results/toml_entries.h"
#include "run_files/foreign_text.h"
#include "run_files/input_error.h"
#include "run_files/shipped_implementations.h"

namespace shardcts {
namespace {

constexpr size_t kMaxFileBytes = 4 * 1024 * 1024;
constexpr size_t kMaxFileNameBytes = 900;  // with line and a colon a label of results.json
const std::set<std::string_view> kRequired = {"test",  "implementation", "device",  "verdict",
                                              "owner", "reason",         "evidence"};
const std::set<std::string_view> kOptional = {"checks", "reason_contains", "expires", "review_version",
                                               "versions"};
constexpr Verdict kWaivable[] = {Verdict::kFail, Verdict::kIncomplete, Verdict::kCrash, Verdict::kHang,
                                 Verdict::kDiverged};

bool IsPattern(const std::string& text) { return text.find_first_of("*?") != text.npos; }

// One [[waiver]] of a file.
class WaiverReader : private TomlEntry {
 public:
  using TomlEntry::TomlEntry;

  Waiver Read(const std::vector<TestCase>& tests) const {
    CheckFields(kRequired, kOptional);
    Waiver waiver;
    waiver.place = Place();
    waiver.test = Text("test");
    waiver.implementation = Implementation();
    waiver.device = Text("device");
    waiver.verdict = ExpectedVerdict();
    waiver.checks = Checks(waiver.verdict);
    waiver.reason_contains = Text("reason_contains");
    waiver.owner = Text("owner");
    waiver.reason = Text("reason");
    waiver.evidence = Text("evidence");
    waiver.expires = Expires();
    waiver.review_version = ReviewVersion();
    waiver.versions = Versions();
    CheckWhole(waiver, tests);
    return waiver;
  }

 private:
  std::string Implementation() const {
    const std::string text = Text("implementation");
    const toml::node& node = *table().get("implementation");
    if (IsPattern(text)) {
      const bool fits_shipped = std::ranges::any_of(kShippedImplementations, [&](const ShippedImplementation& shipped) {
        return FitsWhole(text, std::string(shipped.name));
      });
      const bool possible = fits_shipped || text.starts_with("python:") || text.ends_with(".so");
      if (!possible) Fail(node, "no implementation fits " + Quoted(text));
      return text;
    }
    try {
      const ImplementationSpec spec = ParseImplementationSpec(text);
      if (!spec.options.empty() || spec.mutant || text.find(',') != text.npos) {
        Fail(node, Quoted(text) + " names more than an implementation");
      }
      return spec.source;
    } catch (const InputError& error) {
      const std::string what = error.what();
      if (what.starts_with(file())) throw;
      Fail(node, "unknown implementation " + Quoted(text) + ": " + PossibleImplementations());
    }
  }

  Verdict ExpectedVerdict() const {
    const std::string text = Text("verdict");
    const std::optional<Verdict> verdict = ParseVerdict(text);
    if (verdict && std::count(std::begin(kWaivable), std::end(kWaivable), *verdict) > 0) return *verdict;
    Fail(*table().get("verdict"), "verdict " + Quoted(text) + " is none of fail, incomplete, crash, hang, diverged");
  }

  std::vector<std::string> Checks(Verdict verdict) const {
    const toml::node* node = table().get("checks");
    if (!node) return {};
    const bool has_checks = verdict == Verdict::kFail || verdict == Verdict::kIncomplete;
    if (!has_checks) Fail(*node, "\"checks\" are of fail and incomplete only");
    if (!node->is_array() || node->as_array()->empty()) Fail(*node, "\"checks\" must be a list of check ids");
    std::vector<std::string> checks;
    for (const toml::node& element : *node->as_array()) {
      if (!element.is_string()) Fail(element, "\"checks\" must be a list of check ids");
      checks.push_back(element.as_string()->get());
    }
    return checks;
  }

  std::optional<std::chrono::year_month_day> Expires() const {
    const toml::node* node = table().get("expires");
    if (!node) return std::nullopt;
    if (!node->is_date()) Fail(*node, "\"expires\" must be a date without quotes, as in expires = 2027-01-31");
    const toml::date date = node->as_date()->get();
    return std::chrono::year_month_day(std::chrono::year(date.year), std::chrono::month(date.month),
                                       std::chrono::day(date.day));
  }

  std::string ReviewVersion() const {
    const std::string text = Text("review_version");
    const bool numbers = text.find_first_not_of("0123456789.") == text.npos && text.find("..") == text.npos &&
                         !text.starts_with('.') && !text.ends_with('.');
    if (!numbers) Fail(*table().get("review_version"), Quoted(text) + " is no version such as \"2.14\"");
    return text;
  }

  void CheckWhole(const Waiver& waiver, const std::vector<TestCase>& tests) const {
    const bool ends = waiver.expires || !waiver.review_version.empty() ||
                      (waiver.versions && waiver.versions->HasUpperBound());
    if (!ends) Fail(table(), "needs \"expires\", \"review_version\" or \"versions\" with an upper bound");
    const bool says_how = !waiver.checks.empty() || !waiver.reason_contains.empty();
    if (waiver.verdict == Verdict::kFail && !says_how) Fail(table(), "fail needs \"checks\" or \"reason_contains\"");
    std::set<std::string> possible;
    bool fits = false;
    for (const TestCase& test : tests) {
      if (!FitsWhole(waiver.test, test.id)) continue;
      fits = true;
      for (const InventoryCheck& check : test.checks) possible.insert(check.id);
    }
    if (!fits) Fail(*table().get("test"), "no test fits " + Quoted(waiver.test));
    for (const std::string& check : waiver.checks) {
      if (!possible.contains(check)) Fail(*table().get("checks"), "the test has no check " + Quoted(check));
    }
  }
};

void RequireDistinct(const std::vector<Waiver>& waivers) {
  for (size_t i = 0; i < waivers.size(); ++i) {
    for (size_t k = 0; k < i; ++k) {
      const Waiver& a = waivers[k];
      const Waiver& b = waivers[i];
      const bool same = a.test == b.test && a.implementation == b.implementation && a.device == b.device;
      if (same && HoldTogether(a, b)) {
        throw InputError(b.place + ": waives the same as " + a.place);
      }
    }
  }
}

std::string ReadText(const std::filesystem::path& file) {
  if (file.string().size() > kMaxFileNameBytes) throw InputError("--waivers: a path of more than 900 bytes");
  if (!std::filesystem::is_regular_file(file)) throw InputError(file.string() + ": cannot be read");
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw InputError(file.string() + ": cannot be read");
  if (std::filesystem::file_size(file) > kMaxFileBytes) throw InputError(file.string() + ": larger than 4 MiB");
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

void Append(std::vector<Waiver>& waivers, const std::vector<Waiver>& more) {
  waivers.insert(waivers.end(), more.begin(), more.end());
}

}  // namespace

std::vector<Waiver> ParseWaivers(const std::string& text, const std::string& file_name,
                                 const std::vector<TestCase>& tests) {
  const toml::table document = ParseToml(text, file_name);
  std::vector<Waiver> waivers;
  ForEachEntry(document, file_name, "waiver", [&](const toml::table& table) {
    waivers.push_back(WaiverReader(file_name, table).Read(tests));
  });
  RequireDistinct(waivers);
  return waivers;
}

std::vector<Waiver> LoadWaivers(const std::vector<std::filesystem::path>& files) {
  std::vector<Waiver> waivers;
  for (const EmbeddedSuite& suite : EmbeddedSuites()) {
    Append(waivers, ParseWaivers(suite.deviations, "suites/" + suite.name + "/deviations.toml", AllTests()));
  }
  for (const std::filesystem::path& file : files) {
    Append(waivers, ParseWaivers(ReadText(file), file.string(), AllTests()));
  }
  RequireDistinct(waivers);
  return waivers;
}

}  // namespace shardcts
