// The entry points of the shared library of a mutated copy of the reference. Options besides the reference's: `mutant`,
// set by the harness, switches one on; with reached=1 each rank writes, after each test, which mutants' places it has
// executed in that test: a line of numbers in POOL/reached-rank-R.txt.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <fstream>

#include "contract/preload.h"
#include "mutants/schemata/mutant_switch.h"
#include "operations/reference_implementation.h"

namespace {

class MutatedReference : public shardcts::Implementation {
 public:
  explicit MutatedReference(const shardcts::ImplementationContext& context) : inner_(context) {
    if (context.options.contains("reached"))
      reached_.open(fmt::format("{}/reached-rank-{}.txt", context.run_folder, context.rank), std::ios::app);
  }

  shardcts::Outcome Invoke(std::string_view operation, const shardcts::Dict& arguments) override {
    shardcts::Outcome outcome = inner_.Invoke(operation, arguments);
    if (reached_.is_open() && operation == "implementation.reset") WriteReached();
    return outcome;
  }

 private:
  void WriteReached() {
    std::vector<char>& reached = shardcts::TheMutantSwitch().reached;
    std::vector<size_t> numbers;
    for (size_t number = 0; number < reached.size(); ++number) {
      if (reached[number]) numbers.push_back(number);
    }
    reached_ << fmt::format("{}", fmt::join(numbers, " ")) << std::endl;
    std::ranges::fill(reached, 0);
  }

  shardcts::reference::ReferenceImplementation inner_;
  std::ofstream reached_;
};

std::unique_ptr<shardcts::Implementation> Create(const shardcts::ImplementationContext& context) {
  for (const char* name : {"mutant", "source_mutant"}) {  // the second for a user, whose "mutant" is a decorator
    if (const auto option = context.options.find(name); option != context.options.end()) shardcts::SwitchOn(option->second);
  }
  return std::make_unique<MutatedReference>(context);
}

// LibTorch comes with the library itself.
void Preload(const std::map<std::string, std::string>& options) {}

}  // namespace

SHARDCTS_IMPLEMENTATION(Create)
SHARDCTS_PRELOAD(Preload)
