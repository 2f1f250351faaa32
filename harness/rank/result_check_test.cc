#include "rank/result_check.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shardcts {
namespace {

using testing::HasSubstr;

std::string Problem(const Value& value) { return FindUnreadable(value).value_or("none"); }

TEST(ResultCheck, OrdinaryResultsAreReadable) {
  const at::Tensor base = at::arange(12, at::kFloat).view({3, 4});
  EXPECT_EQ(Problem(Dict{{"w", base.t()}, {"rows", List{base[1], base.slice(1, 1, 3), 5, "text", nullptr}}}), "none");
  EXPECT_EQ(Problem(at::ones({1}).expand({1000, 1000})), "none") << "gradients of a sum are such";
  EXPECT_EQ(Problem(at::empty({1L << 40}, at::TensorOptions().device(at::kMeta))), "none");
  EXPECT_EQ(Problem(at::empty({0, 3})), "none");
  EXPECT_EQ(Problem(at::scalar_tensor(1.0).to(at::kBFloat16)), "none");
}

TEST(ResultCheck, TensorsThatCannotBeReadAreNamedWithTheirPlace) {
  EXPECT_EQ(Problem(Dict{{"a", List{1, at::Tensor()}}}), "[a][1]: an undefined tensor");
  EXPECT_EQ(Problem(at::eye(3).to_sparse()), "a tensor of layout Sparse");
  EXPECT_EQ(Problem(at::eye(3).to_sparse_csr()), "a tensor of layout SparseCsr");
  EXPECT_EQ(Problem(at::quantize_per_tensor(at::ones({2}), 0.1, 0, at::kQInt8)),
            "a tensor of dtype QInt8, which the contract does not have");
  EXPECT_EQ(Problem(DTensor{}), ".local: an undefined tensor");
}

TEST(ResultCheck, TensorsThatRepeatTheirElementsAreBounded) {
  EXPECT_EQ(Problem(at::zeros({1}).expand({int64_t{1} << 40})),
            "a tensor of shape (1099511627776,) that repeats the 4 bytes of its storage");
  EXPECT_THAT(Problem(at::zeros({1 << 10}).as_strided({1 << 9, 1 << 20}, {1, 0})), HasSubstr("repeats the 4096 bytes"));
}

TEST(ResultCheck, StorageThatIsTooSmallIsNoticed) {
  const at::Tensor tensor = at::ones({100});
  tensor.storage().unsafeGetStorageImpl()->set_nbytes(40);
  EXPECT_EQ(Problem(tensor), "a tensor that needs 400 bytes of a storage of 40");
}

TEST(ResultCheck, DepthIsLimited) {
  Value value = 1;
  for (int i = 0; i < kMaxValueDepth; ++i) value = List{value};
  EXPECT_EQ(Problem(value), "none");
  EXPECT_THAT(Problem(Dict{{"x", value}}), testing::AllOf(HasSubstr("[x][0][0]"), HasSubstr("nested more than 100 deep")));
}

}  // namespace
}  // namespace shardcts
