#include "mutants/schemata/mutant_switch.h"

#include <algorithm>
#include <stdexcept>

#include "contract/nearest_name.h"

namespace shardcts {

MutantSwitch& TheMutantSwitch() {
  static MutantSwitch the{.reached = std::vector<char>(SourceMutantNames().size())};
  return the;
}

void SwitchOn(std::string_view mutant) {
  const std::vector<std::string_view> names = SourceMutantNames();
  const auto found = std::ranges::find(names, mutant);
  if (found == names.end()) throw std::invalid_argument(UnknownName("mutant", std::string(mutant), names));
  TheMutantSwitch().on = static_cast<int>(found - names.begin());
}

bool SourceMutant(int number) {
  static MutantSwitch& the = TheMutantSwitch();
  the.reached[static_cast<size_t>(number)] = 1;
  return the.on == number;
}

}  // namespace shardcts
