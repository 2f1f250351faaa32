// Tensors in HostMemory are kept apart, and go from rank to rank as any other.
#include "comm/local/direct_exchange.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/local/host_memory.h"
#include "comm/testing/rank_tests.h"

namespace shardcts {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// A multiple of a page, so that neighbours adjoin.
constexpr int64_t kNumel = 128 << 10;

// With `count` floats of which each is `value`.
at::Tensor Filled(double value, int64_t count = kNumel) {
  const at::Tensor tensor = at::detail::empty_generic({count}, HostMemory::OfThisProcess(),
                                                      c10::DispatchKeySet(c10::DispatchKey::CPU), at::kFloat, {});
  return tensor.fill_(value);
}

int64_t OffsetOf(const at::Tensor& tensor) {
  return HostMemory::OfThisProcess()->OffsetOf(tensor.const_data_ptr(), tensor.nbytes()).value_or(-1);
}

TEST(HostMemoryTest, SmallAndForeignTensorsLieElsewhere) {
  EXPECT_EQ(OffsetOf(Filled(1, 100)), -1);
  EXPECT_EQ(OffsetOf(at::ones({kNumel})), -1);
  EXPECT_GE(OffsetOf(Filled(1)), 0);
}

TEST(HostMemoryTest, AFreedPlaceIsTakenAgainAndNeighboursAreJoined) {
  at::Tensor first = Filled(1);
  at::Tensor second = Filled(2);
  const at::Tensor third = Filled(3);
  const int64_t offset = OffsetOf(first);
  second.reset();
  first.reset();
  const at::Tensor both = Filled(4, 2 * kNumel);
  EXPECT_EQ(OffsetOf(both), offset);
  EXPECT_TRUE(at::equal(third, at::full({kNumel}, 3.0)));
  EXPECT_EQ(both.sum().item<double>(), 4.0 * 2 * kNumel);
}

TEST(HostMemoryTest, WhatIsTakenBeyondAllBeforeIsNotWhatIsInUse) {
  std::vector<at::Tensor> held;
  for (int i = 0; i < 20; ++i) held.push_back(Filled(i));
  for (int i = 0; i < 20; i += 2) held[i].reset();
  const at::Tensor large = Filled(100, 40 * kNumel);
  for (int i = 1; i < 20; i += 2) EXPECT_TRUE(at::equal(held[i], at::full({kNumel}, double(i)))) << i;
  EXPECT_TRUE(at::equal(large, at::full({40 * kNumel}, 100.0)));
}

TEST(HostMemoryTest, ATensorCanGrow) {
  at::Tensor tensor = Filled(7);
  tensor.resize_({3 * kNumel});
  EXPECT_TRUE(at::equal(tensor.narrow(0, 0, kNumel), at::full({kNumel}, 7.0)));
  EXPECT_GE(OffsetOf(tensor), 0);
}

TEST(HostMemoryTest, MoreThanThereIsIsRefused) {
  EXPECT_THROW(HostMemory::OfThisProcess()->allocate(size_t{1} << 60), c10::OutOfMemoryError);
}

TEST(HostMemoryTest, AWrongHandleOpensNothing) {
  EXPECT_THROW(SharedMemory::Open(""), CommunicationError);
  EXPECT_THROW(SharedMemory::Open("1 0 4096 xyz"), CommunicationError);
  std::string forged = HostMemory::OfThisProcess()->memory().Handle();
  forged.back() = forged.back() == 'a' ? 'b' : 'a';
  EXPECT_THROW(SharedMemory::Open(forged), CommunicationError);
}

// What rank `from` sends rank `to`: as many elements as that pair's alone.
int64_t CountFor(int from, int to) { return 20'000 + 1000 * from + 10 * to; }
double ValueFor(int from, int to) { return 100 * from + to; }

// Every rank sends every one, itself too. The flags say which side's tensors lie in HostMemory.
void ExpectAllArrives(bool sender_has_memory, bool receiver_has_memory) {
  const int rank = World().rank();
  const auto make = [](bool has_memory, int64_t count, double value) {
    return has_memory ? Filled(value, count) : at::full({count}, value, at::kFloat);
  };
  Communicator::TensorsByRank sends;
  Communicator::TensorsByRank receives;
  for (int r = 0; r < World().size(); ++r) {
    sends.push_back({make(sender_has_memory, CountFor(rank, r), ValueFor(rank, r))});
    receives.push_back({make(receiver_has_memory, CountFor(r, rank), -1)});
  }
  if (!World().ExchangeDirectly(sends, receives)) {
    EXPECT_FALSE(sender_has_memory || receiver_has_memory);
    return;
  }
  EXPECT_TRUE(sender_has_memory || receiver_has_memory || World().size() == 1);
  for (int r = 0; r < World().size(); ++r) {
    EXPECT_TRUE(at::equal(receives[r][0], at::full({CountFor(r, rank)}, ValueFor(r, rank)))) << "of rank " << r;
  }
}

TEST(DirectExchangeTest, OneSideInHostMemoryIsEnough) {
  for (const bool sender : {false, true}) {
    for (const bool receiver : {false, true}) ExpectAllArrives(sender, receiver);
  }
}

TEST(DirectExchangeTest, OneRankSendsToAllAndAllToOne) {
  const auto size = static_cast<size_t>(World().size());
  const int rank = World().rank();
  Communicator::TensorsByRank out(size);
  Communicator::TensorsByRank in(size);
  const at::Tensor mine = Filled(-1);
  if (rank == 0) {
    for (size_t r = 0; r < size; ++r) out[r] = {Filled(static_cast<double>(r))};
  }
  in[0] = {mine};
  ASSERT_TRUE(World().ExchangeDirectly(out, in));
  EXPECT_TRUE(at::equal(mine, at::full({kNumel}, double(rank))));
  Communicator::TensorsByRank back(size);
  if (rank == 0) {
    for (size_t r = 0; r < size; ++r) back[r] = {Filled(-1)};
  }
  ASSERT_TRUE(World().ExchangeDirectly(in, back));
  if (rank != 0) return;
  for (size_t r = 0; r < size; ++r) EXPECT_TRUE(at::equal(back[r][0], at::full({kNumel}, double(r)))) << r;
}

TEST(DirectExchangeTest, PiecesThatDifferAreAMistakeOnAllRanks) {
  const auto size = static_cast<size_t>(World().size());
  const int last = World().size() - 1;
  Communicator::TensorsByRank sends(size);
  Communicator::TensorsByRank receives(size);
  if (World().rank() == 0) sends[last] = {Filled(1)};
  if (World().rank() == last) receives[0] = {Filled(1, kNumel + 1)};
  EXPECT_THAT([&] { World().ExchangeDirectly(sends, receives); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("other pieces")));
  ExpectAllArrives(true, true);  // the communicator is as good as before
}

TEST(DirectExchangeTest, TooManyPiecesAreNotMoved) {
  const auto size = static_cast<size_t>(World().size());
  const std::vector<at::Tensor> many(20000, Filled(1, 1));
  Communicator::TensorsByRank sends(size);
  Communicator::TensorsByRank receives(size);
  if (World().rank() == 0) sends[0] = receives[0] = many;
  EXPECT_FALSE(World().ExchangeDirectly(sends, receives));
  ExpectAllArrives(true, false);
}

TEST(DirectExchangeTest, GathersAndBroadcastsOfSuchTensors) {
  for (int repeat = 0; repeat < 3; ++repeat) {
    const at::Tensor output = Filled(-1, World().size() * kNumel);
    World().AllGatherInto(output, Filled(World().rank() + repeat));
    for (int r = 0; r < World().size(); ++r) {
      EXPECT_TRUE(at::equal(output.narrow(0, r * kNumel, kNumel), at::full({kNumel}, double(r + repeat)))) << r;
    }
    const int root = World().size() - 1;
    const at::Tensor tensor = Filled(World().rank() == root ? 5 + repeat : -1);
    World().Broadcast(tensor, root);
    EXPECT_TRUE(at::equal(tensor, at::full({kNumel}, 5.0 + repeat)));
  }
}

// Some ranks' tensors lie in HostMemory, others' do not: all go the same way.
TEST(DirectExchangeTest, MixedGathersGoInPieces) {
  const bool is_in_memory = World().rank() != 0;
  const at::Tensor input = is_in_memory ? Filled(World().rank()) : at::zeros({kNumel});
  const at::Tensor output = at::empty({World().size() * kNumel});
  World().AllGatherInto(output, input);
  for (int r = 0; r < World().size(); ++r) {
    EXPECT_TRUE(at::equal(output.narrow(0, r * kNumel, kNumel), at::full({kNumel}, double(r)))) << r;
  }
}

}  // namespace
}  // namespace shardcts
