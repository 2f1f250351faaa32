// CopyValues compared with Tensor.copy_.
#include "tensor/copy_values.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>

#include "comm/copy_bytes.h"

namespace shardcts::reference {
namespace {

// Of floats that are streamed.
constexpr int64_t kRows = 512;
constexpr int64_t kColumns = 2 * kLeastStreamedBytes / (kRows * int64_t{sizeof(float)});

at::Tensor Counting(at::ScalarType dtype = at::kFloat) {
  return at::arange(kRows * kColumns, at::kFloat).view({kRows, kColumns}).to(dtype);
}

using View = std::function<at::Tensor(const at::Tensor&)>;

at::Tensor Whole(const at::Tensor& tensor) { return tensor; }

// Writes `source` into `view` of a tensor in both ways.
void ExpectAsCopy(const at::Tensor& source, const View& view = Whole, at::ScalarType dtype = at::kFloat) {
  const at::Tensor target = at::full({kRows, kColumns}, -1, dtype);
  const at::Tensor expected = target.clone();
  CopyValues(view(target), source);
  view(expected).copy_(source);
  EXPECT_TRUE(at::equal(target, expected));
}

TEST(CopyValuesTest, DoesWhatCopyDoes) {
  ExpectAsCopy(Counting());
  ExpectAsCopy(Counting(at::kDouble));
  ExpectAsCopy(Counting(), Whole, at::kBFloat16);
  ExpectAsCopy(Counting().t().contiguous().t());  // column by column in memory
  ExpectAsCopy(Counting()[0]);  // broadcast
  ExpectAsCopy(at::scalar_tensor(3.0));
  ExpectAsCopy(Counting().narrow(0, 1, 300), [](const at::Tensor& t) { return t.narrow(0, 7, 300); });
  ExpectAsCopy(Counting().narrow(1, 1, 300), [](const at::Tensor& t) { return t.narrow(1, 7, 300); });
}

TEST(CopyValuesTest, SeesWhatTheBitsOfComplexNumbersMean) {
  const at::Tensor source = at::complex(Counting(), Counting());
  const at::Tensor target = at::zeros_like(source);
  CopyValues(target, source.conj());
  EXPECT_TRUE(at::equal(target, source.conj().resolve_conj()));
}

TEST(CopyValuesTest, OntoItselfChangesNothing) {
  const at::Tensor tensor = Counting();
  CopyValues(tensor, tensor.view({kRows, kColumns}));
  EXPECT_TRUE(at::equal(tensor, Counting()));
}

TEST(CopyValuesTest, AutogradRecordsItAndSeesThatTheTargetHasChanged) {
  const at::Tensor source = Counting().requires_grad_();
  const at::Tensor target = at::zeros({kRows, kColumns});
  CopyValues(target, source);
  EXPECT_TRUE(target.requires_grad());
  const at::Tensor plain = at::zeros({kRows, kColumns});
  const auto before = plain._version();
  CopyValues(plain, Counting());
  EXPECT_EQ(plain._version(), before + 1);
}

}  // namespace
}  // namespace shardcts::reference
