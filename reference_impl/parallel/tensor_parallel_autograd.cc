#include "parallel/tensor_parallel_autograd.h"
#include "tensor/as_real.h"

#include <ATen/ATen.h>
#include <torch/autograd.h>
#include <torch/custom_class.h>

namespace shardcts::reference {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Autograd saves only certain types of values; this one carries the group.
struct GroupHolder : torch::CustomClassHolder {
  explicit GroupHolder(Communicator& communicator) : group(&communicator) {}
  Communicator* group;
};

at::Tensor Sum(const at::Tensor& tensor, Communicator& group) {
  const at::Tensor sum = tensor.detach().clone(at::MemoryFormat::Contiguous);
  group.AllReduce(AsReal(sum), ReduceOp::kSum);
  return sum;
}

struct EnterParallelRegionFunction : torch::autograd::Function<EnterParallelRegionFunction> {
  static at::Tensor forward(AutogradContext* context, at::Tensor input, c10::intrusive_ptr<GroupHolder> holder) {
    context->saved_data["group"] = c10::IValue::make_capsule(std::move(holder));
    return input;
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto holder = c10::static_intrusive_pointer_cast<GroupHolder>(context->saved_data["group"].toCapsule());
    return {Sum(gradients[0], *holder->group), at::Tensor()};
  }
};

struct SumContributionsFunction : torch::autograd::Function<SumContributionsFunction> {
  static at::Tensor forward(AutogradContext*, at::Tensor contribution, c10::intrusive_ptr<GroupHolder> holder) {
    return Sum(contribution, *holder->group);
  }
  static variable_list backward(AutogradContext*, variable_list gradients) { return {gradients[0], at::Tensor()}; }
};

struct ShareOfValueFunction : torch::autograd::Function<ShareOfValueFunction> {
  static at::Tensor forward(AutogradContext*, at::Tensor value, int64_t num_ranks) { return value / num_ranks; }
  static variable_list backward(AutogradContext*, variable_list gradients) { return {gradients[0], at::Tensor()}; }
};

}  // namespace

at::Tensor EnterParallelRegion(const at::Tensor& input, Communicator& group) {
  return EnterParallelRegionFunction::apply(input, c10::make_intrusive<GroupHolder>(group));
}

at::Tensor SumContributions(const at::Tensor& contribution, Communicator& group) {
  return SumContributionsFunction::apply(contribution, c10::make_intrusive<GroupHolder>(group));
}

at::Tensor ShareOfValue(const at::Tensor& value, int64_t num_ranks) {
  return ShareOfValueFunction::apply(value, num_ranks);
}

}  // namespace shardcts::reference
