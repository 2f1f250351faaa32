// Which mutant of a mutated copy of sources is on (schemata.py): asked by the copy at each place that a mutant changes.
#pragma once

// For replacements.
#include <chrono>
#include <future>

#include <string>
#include <string_view>
#include <vector>

namespace shardcts {

// By their numbers; generated. *Local*.
std::vector<std::string_view> SourceMutantNames();

// Switches it on, for this process. std::invalid_argument: no such mutant, with the nearest known one. *Local*.
void SwitchOn(std::string_view mutant);

// The state: SourceMutant is called in loops.
struct MutantSwitch {
  int on = -1;                // its number; -1: none
  std::vector<char> reached;  // per mutant: whether its place has been executed since it was last cleared
};
MutantSwitch& TheMutantSwitch();

// Whether the mutant with this number is on. *Local*.
bool SourceMutant(int number);

}  // namespace shardcts
