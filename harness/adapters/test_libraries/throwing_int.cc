// An implementation that throws what is no std::exception: the constructor by the option "at" = "constructor", else in
// each operation. The operation test.long answers with an error of 5 MB and 2,000 warnings.
#include "contract/implementation.h"

namespace shardcts {
namespace {

class ThrowingInt final : public Implementation {
 public:
  explicit ThrowingInt(const ImplementationContext& context) {
    if (context.options.contains("at")) throw 5;
  }

  Outcome Invoke(std::string_view operation, const Dict&) override {
    if (operation != "test.long") throw 5;
    const std::string text(5'000'000, 'x');
    Outcome outcome = Error{text, text};
    outcome.warnings.assign(2000, {"UserWarning", "again"});
    outcome.warnings.front() = {text, text};
    return outcome;
  }
};

std::unique_ptr<Implementation> MakeThrowingInt(const ImplementationContext& context) {
  return std::make_unique<ThrowingInt>(context);
}

}  // namespace
}  // namespace shardcts

SHARDCTS_IMPLEMENTATION(::shardcts::MakeThrowingInt)
