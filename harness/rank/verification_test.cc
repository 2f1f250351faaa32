#include "rank/verification.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace shardcts {
namespace {

DTensor Sharded(at::Tensor local) {
  return {std::move(local), {"cpu", {2}, {}, {0, 1}}, {Placement::Shard(0)}, {4}, {1}};
}

TEST(Verification, MessagesNameWhatExpectedAndActual) {
  EXPECT_EQ(Equal("entries", 3, 4).message, "entries: expected 3, actual 4");
  EXPECT_EQ(SameNames("keys", {"a", "b"}, {"a", "c"}).message, "keys: name 1: expected \"b\", actual \"c\"");
  EXPECT_EQ(SameNames("keys", {"a", "b"}, {"a"}).message,
            "keys: expected 2 names, actual 1: missing [\"b\"], unexpected []");
  EXPECT_EQ(SameNames("keys", {}, {"a", "b"}).message,
            "keys: expected 0 names, actual 2: missing [], unexpected [\"a\", \"b\"]");
  EXPECT_EQ(SameNameSet("keys", {"a", "b"}, {"b", "c"}).message, "keys: missing [\"a\"], unexpected [\"c\"]");
  EXPECT_EQ(IsDTensor("w", Value(at::ones({2}))).message, "w: expected a DTensor, actual tensor float32 (2,) cpu");
  EXPECT_EQ(AllElementsAre("w", 1, Value(at::full({2}, 3))).message,
            "w: index (0,): expected 1, actual 3 (2 of 2 elements differ, largest difference 2)");
}

TEST(Verification, SameNameSetCountsDuplicates) { EXPECT_FALSE(SameNameSet("keys", {"a", "b"}, {"a", "b", "b"}).ok); }

TEST(Verification, EveryCheckCanFailAndCanHold) {
  const Value dtensor(Sharded(at::ones({2})));
  EXPECT_TRUE(IsDTensor("w", dtensor).ok);
  EXPECT_FALSE(IsPlainTensor("w", dtensor).ok);
  EXPECT_FALSE(IsParameter("w", dtensor).ok);
  EXPECT_TRUE(IsParameter("w", Value(Tensor{at::ones({1}), true})).ok);
  EXPECT_TRUE(HasLayout("w", {"cpu", {2}, {}, {0, 1}}, {Placement::Shard(0)}, dtensor).ok);
  EXPECT_FALSE(HasLayout("w", {"cpu", {2}, {}, {1, 0}}, {Placement::Shard(0)}, dtensor).ok);
  EXPECT_FALSE(HasLayout("w", {"cpu", {2}, {}, {0, 1}}, {Placement::Replicate()}, dtensor).ok);
  EXPECT_TRUE(AllElementsAre("w", 1, dtensor).ok);
  EXPECT_TRUE(AllElementsAre("w", 1, Value(at::empty({0, 3}))).ok);
  EXPECT_FALSE(SameValue("w", Value(at::zeros({2})), Value(at::zeros({3}))).ok);
}

TEST(Verification, OrderIsThatOfTheExpectedEntriesAndNothingIsLost) {
  const auto entry = [](int64_t first, int64_t second) { return Dict{{"step", first}, {"exp_avg", second}}; };
  const Value expected(Dict{{"state", entry(1, 2)}, {"groups", List{entry(3, 4)}}});
  const Dict turned_state{{"exp_avg", int64_t{2}}, {"step", int64_t{1}}};
  const Dict turned_group{{"more", int64_t{5}}, {"exp_avg", int64_t{4}}, {"step", int64_t{3}}};
  const Value actual(Dict{{"groups", List{turned_group}}, {"state", turned_state}});
  const Value ordered = InOrderOf(expected, actual);
  EXPECT_EQ(ordered.AsDict().Keys(), (std::vector<std::string>{"state", "groups"}));
  EXPECT_EQ(ordered.AsDict().At("state").AsDict().Keys(), (std::vector<std::string>{"step", "exp_avg"}));
  EXPECT_EQ(ordered.AsDict().At("groups").AsList()[0].AsDict().Keys(),
            (std::vector<std::string>{"step", "exp_avg", "more"}));
  EXPECT_FALSE(SameValue("dict", expected, ordered).ok);
}

TEST(Verification, AnEmptyTensorHasNoAddress) {
  const at::Tensor storage = at::ones({4});
  const Value empty(storage.narrow(0, 4, 0));
  EXPECT_EQ(DataPointer(empty), 0u);
  EXPECT_EQ(StoragePointer(empty), StoragePointer(Value(storage)));
  EXPECT_NE(DataPointer(Value(storage)), 0u);
}

}  // namespace
}  // namespace shardcts
