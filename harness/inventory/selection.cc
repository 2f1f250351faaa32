#include "inventory/selection.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "contract/nearest_name.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

std::string Joined(const std::vector<std::string>& texts) {
  std::string joined;
  for (const std::string& text : texts) joined += (joined.empty() ? "" : ", ") + text;
  return joined;
}

// The flags that were given: "--filter cached, --world 3".
std::string Describe(const Selection& selection) {
  std::vector<std::string> flags;
  for (const std::string& suite : selection.suites) flags.push_back("--suite " + suite);
  for (const std::string& filter : selection.filters) flags.push_back("--filter " + filter);
  for (int world_size : selection.world_sizes) flags.push_back("--world " + std::to_string(world_size));
  return Joined(flags);
}

void RequireKnownSuites(const std::vector<TestCase>& tests, const std::vector<std::string>& suites) {
  std::vector<std::string> known;
  for (const TestCase& test : tests) {
    if (std::find(known.begin(), known.end(), test.suite) == known.end()) known.push_back(test.suite);
  }
  for (const std::string& suite : suites) {
    if (std::find(known.begin(), known.end(), suite) == known.end()) {
      throw InputError("--suite " + suite + ": " + UnknownName("suite", suite, known));
    }
  }
}

bool FitsAnyFilter(const Selection& selection, const std::set<std::string>& exact, const std::string& id) {
  if (selection.filters.empty()) return true;
  return std::any_of(selection.filters.begin(), selection.filters.end(), [&](const std::string& filter) {
    return exact.contains(filter) ? filter == id : FitsFilter(filter, id);
  });
}

// Of each of its phases.
std::vector<int> WorldSizesOf(const TestCase& test) {
  if (test.phases.empty()) return {test.world_size};
  std::vector<int> sizes;
  for (const TestPhase& phase : test.phases) sizes.push_back(phase.world_size);
  return sizes;
}

template <class T>
bool EmptyOrHas(const std::vector<T>& list, const T& value) {
  return list.empty() || std::find(list.begin(), list.end(), value) != list.end();
}

std::vector<TestCase> TakeShard(const std::vector<TestCase>& tests, const Selection& selection) {
  std::vector<TestCase> shard;
  for (size_t i = static_cast<size_t>(selection.shard_index - 1); i < tests.size();
       i += static_cast<size_t>(selection.shard_count)) {
    shard.push_back(tests[i]);
  }
  if (shard.empty()) {
    throw InputError("--shard " + std::to_string(selection.shard_index) + "/" + std::to_string(selection.shard_count) +
                     ": empty, only " + std::to_string(tests.size()) + " tests are selected");
  }
  return shard;
}

}  // namespace

bool FitsWhole(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = pattern.npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p, ++t;
    } else if (star != pattern.npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == pattern.npos;
}

bool FitsFilter(std::string_view pattern, std::string_view text) {
  if (pattern.find_first_of("*?") == pattern.npos) return text.find(pattern) != text.npos;
  return FitsWhole(pattern, text);
}

void ParseShard(const std::string& text, Selection& selection) {
  const char* end = text.data() + text.size();
  int index = 0, count = 0;
  const auto first = std::from_chars(text.data(), end, index);
  const bool slash = first.ec == std::errc() && first.ptr != end && *first.ptr == '/';
  const auto second = slash ? std::from_chars(first.ptr + 1, end, count) : first;
  if (!slash || second.ec != std::errc() || second.ptr != end || index < 1 || index > count) {
    throw InputError("--shard " + text + ": expected i/n with 1 <= i <= n");
  }
  selection.shard_index = index;
  selection.shard_count = count;
}

std::vector<TestCase> Select(const std::vector<TestCase>& tests, const Selection& selection) {
  RequireKnownSuites(tests, selection.suites);
  std::set<std::string> exact;
  for (const TestCase& test : tests) {
    if (EmptyOrHas(selection.filters, test.id)) exact.insert(test.id);
  }
  std::vector<TestCase> selected;
  for (const TestCase& test : tests) {
    const auto wanted = [&](int world_size) { return EmptyOrHas(selection.world_sizes, world_size); };
    if (!EmptyOrHas(selection.suites, test.suite) || !std::ranges::all_of(WorldSizesOf(test), wanted)) continue;
    if (!FitsAnyFilter(selection, exact, test.id)) continue;
    if (test.world_size > selection.max_world_size) {
      throw InputError(test.id + ": needs " + std::to_string(test.world_size) + " ranks, more than --max-world " +
                       std::to_string(selection.max_world_size) + "; leave it out with --world or --filter");
    }
    selected.push_back(test);
  }
  if (selected.empty()) throw InputError(Describe(selection) + ": fits no test");
  return TakeShard(selected, selection);
}

}  // namespace shardcts
