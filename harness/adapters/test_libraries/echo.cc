// The smallest implementation in C++: gives back its arguments.
#include "contract/implementation.h"

namespace shardcts {
namespace {

class Echo final : public Implementation {
 public:
  explicit Echo(const ImplementationContext& context) : rank_(context.rank) {}

  Outcome Invoke(std::string_view operation, const Dict& arguments) override {
    if (operation != "test.echo") return Error{"NotImplementedError", std::string(operation)};
    Dict result = arguments;
    result.Set("rank", rank_);
    return Value(result);
  }

 private:
  int rank_;
};

std::unique_ptr<Implementation> MakeEcho(const ImplementationContext& context) {
  return std::make_unique<Echo>(context);
}

}  // namespace
}  // namespace shardcts

SHARDCTS_IMPLEMENTATION(::shardcts::MakeEcho)
