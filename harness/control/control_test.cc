// Ranks and hub together, and what a connection may do wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <chrono>
#include <thread>

#include "control/address.h"
#include "control/connection.h"
#include "control/hub.h"
#include "testing/temporary_folder.h"

namespace shardcts {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::chrono::seconds kPatience{20};
// On a quiet machine it takes less than a millisecond; the protocol's own limits are ten seconds and more.
constexpr milliseconds kAtOnce{3000};

class ControlTest : public testing::Test {
 protected:
  ControlHub& Hub(int world_size, bool other_hosts = false) {
    hub_ = std::make_unique<ControlHub>(ControlHub::Options{world_size, folder_.path(), other_hosts, "127.0.0.1"});
    return *hub_;
  }
  std::unique_ptr<ControlConnection> Rank(int rank = -1) {
    return std::make_unique<ControlConnection>(folder_.path(), rank, kPatience);
  }
  // A connection that has not said hello.
  Descriptor Stranger() { return ConnectTo(ReadControlAddress(folder_.path()), milliseconds(1000)); }
  Descriptor AfterHello(int rank) {
    Descriptor socket = Stranger();
    Send(socket, ToFrame(Hello{ReadControlAddress(folder_.path()).token, rank, 1, "host"}));
    AwaitStanding(rank, &RankStanding::connected);
    return socket;
  }
  static void Send(const Descriptor& socket, const std::string& bytes) {
    ASSERT_EQ(::send(socket.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  // The other side closes it within the limit; what it sends before is dropped.
  static bool IsClosedWithin(const Descriptor& socket, milliseconds limit) {
    const auto until = Clock::now() + limit;
    while (Clock::now() < until) {
      pollfd watched{socket.number(), POLLIN, 0};
      char buffer[256];
      if (::poll(&watched, 1, 10) == 1 && ::recv(socket.number(), buffer, sizeof buffer, 0) <= 0) return true;
    }
    return false;
  }
  template <class Member>
  void AwaitStanding(int rank, Member member) {
    const auto until = Clock::now() + kPatience;
    while (Clock::now() < until && !(hub_->Standings()[static_cast<size_t>(rank)].*member)) {
      std::this_thread::sleep_for(milliseconds(1));
    }
    ASSERT_TRUE(static_cast<bool>(hub_->Standings()[static_cast<size_t>(rank)].*member));
  }
  static Contribution Operation(const std::string& name, int64_t step) { return {Together::kOperation, name, step, ""}; }
  static Contribution End() { return {Together::kEnd, "", 0, ""}; }

  TemporaryFolder folder_;
  std::unique_ptr<ControlHub> hub_;
};

TEST_F(ControlTest, EveryRankGetsWhatAllGiveInTheirOrder) {
  Hub(3);
  std::vector<std::vector<std::string>> got(3);
  {
    std::vector<std::jthread> ranks;
    for (int rank = 0; rank < 3; ++rank) {
      ranks.emplace_back([&, rank] {
        const auto connection = Rank(rank);
        for (int round = 0; round < 200; ++round) {
          std::string all;
          for (const Contribution& one :
               connection->Exchange({}, {Together::kAllGather, "", 0, std::to_string(rank + round)})) {
            all += one.bytes + " ";
          }
          got[static_cast<size_t>(rank)].push_back(all);
        }
        connection->Tell(Farewell{});
      });
    }
  }
  EXPECT_EQ(got[0].front(), "0 1 2 ");
  EXPECT_EQ(got[0].back(), "199 200 201 ");
  EXPECT_EQ(got[0], got[1]);
  EXPECT_EQ(got[0], got[2]);
}

TEST_F(ControlTest, LargeValuesOfOneRankReachTheOther) {
  Hub(2);
  const std::string large(20 << 20, 'x');
  std::jthread peer([&] { Rank(1)->Exchange({}, {Together::kAllGather, "", 0, large}); });
  const auto got = Rank(0)->Exchange({}, {Together::kAllGather, "", 0, large + "y"});
  EXPECT_EQ(got[0].bytes, large + "y");
  EXPECT_EQ(got[1].bytes, large);
}

TEST_F(ControlTest, SubgroupsGoOnWithoutTheOthers) {
  Hub(4);
  std::jthread second([&] { EXPECT_EQ(Rank(3)->Exchange({1, 3}, Operation("b", 1)).front().operation, "a"); });
  EXPECT_EQ(Rank(1)->Exchange({1, 3}, Operation("a", 1)).back().operation, "b");
}

TEST_F(ControlTest, NumbersAreGivenInTheOrderOfArrival) {
  Hub(3);
  const auto named = Rank(1);
  EXPECT_EQ(Rank()->rank(), 0);
  EXPECT_EQ(named->rank(), 1);
  EXPECT_EQ(named->world_size(), 3);
}

TEST_F(ControlTest, TheAddressIsForThisUserAlone) {
  Hub(1);
  struct stat status {};
  ASSERT_EQ(::stat(ControlFile(folder_.path()).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(ControlTest, TcpIsListenedToOnlyWhenRanksMayBeElsewhere) {
  Hub(1);
  EXPECT_EQ(ReadControlAddress(folder_.path()).tcp_port, 0);
  Hub(1, true);
  ControlAddress address = ReadControlAddress(folder_.path());
  EXPECT_GT(address.tcp_port, 0);
  address.unix_name = "shardcts-no-such-socket";  // as seen from another host
  WriteControlAddress(folder_.path(), address);
  EXPECT_EQ(Rank()->rank(), 0);
}

TEST_F(ControlTest, RanksThatArriveTwiceOrAreTooManyAreRefused) {
  Hub(2);
  const auto first = Rank(1);
  EXPECT_THAT([&] { Rank(1); }, testing::ThrowsMessage<ControlError>("rank 1 is here already"));
  EXPECT_THAT([&] { Rank(2); }, testing::ThrowsMessage<ControlError>(HasSubstr("started more ranks than the plan's 2")));
}

TEST_F(ControlTest, AWrongTokenIsSentAway) {
  Hub(1);
  const Descriptor socket = Stranger();
  Send(socket, ToFrame(Hello{std::string(32, '0'), 0, 1, "host"}));
  EXPECT_TRUE(IsClosedWithin(socket, kAtOnce));
  EXPECT_FALSE(hub_->Standings()[0].connected);
  EXPECT_EQ(Rank(0)->rank(), 0);  // the place is still free
}

TEST_F(ControlTest, GarbageBeforeTheHelloIsSentAway) {
  Hub(1);
  for (const std::string& garbage : {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(64, '\0'),
                                     ToFrame(Hello{std::string(5000, 'x'), 0, 1, "host"}), ToFrame(StopNotice{1})}) {
    const Descriptor socket = Stranger();
    Send(socket, garbage);
    EXPECT_TRUE(IsClosedWithin(socket, kAtOnce)) << garbage.substr(0, 20);
  }
  EXPECT_TRUE(hub_->Lost().empty());
}

TEST_F(ControlTest, ManySilentStrangersKeepNoRankOut) {
  Hub(1);
  std::vector<Descriptor> silent;
  for (int i = 0; i < 20; ++i) silent.push_back(Stranger());
  const auto begin = Clock::now();
  EXPECT_EQ(Rank(0)->rank(), 0);
  EXPECT_LT(Clock::now() - begin, kAtOnce);
}

TEST_F(ControlTest, ASilentStrangerIsSentAwayAfterTenSeconds) {
  Hub(1);
  const Descriptor socket = Stranger();
  EXPECT_FALSE(IsClosedWithin(socket, milliseconds(8000)));
  EXPECT_TRUE(IsClosedWithin(socket, milliseconds(4000)));
}

TEST_F(ControlTest, GarbageOfARankEndsItsConnectionAndTellsItsPeers) {
  Hub(2);
  const auto peer = Rank(0);
  const Descriptor rank = AfterHello(1);
  Send(rank, "GET / HTTP/1.1\r\n\r\n");
  EXPECT_THAT([&] { peer->Exchange({}, Operation("a", 1)); },
              testing::ThrowsMessage<ExchangeEnded>("rank 1 is gone"));
  EXPECT_TRUE(IsClosedWithin(rank, kAtOnce));
  EXPECT_EQ(hub_->Lost().front(), std::vector{1}) << "its peer ends its connection, too, but later";
  EXPECT_EQ(hub_->Standings()[1].lost, "it sent the controller a frame of 542393671 bytes");
}

TEST_F(ControlTest, ARankThatExchangesWithRanksThatAreNotThereIsCutOff) {
  Hub(1);
  const Descriptor rank = AfterHello(0);
  Send(rank, ToFrame(Exchange{{0, 7}, End()}));
  EXPECT_TRUE(IsClosedWithin(rank, kAtOnce));
  EXPECT_EQ(hub_->Standings()[0].lost, "it sent the controller an exchange with rank 7");
}

TEST_F(ControlTest, HalfClosedIsGone) {
  Hub(2);
  const Descriptor rank = AfterHello(1);
  ::shutdown(rank.number(), SHUT_WR);
  EXPECT_THAT([&] { Rank(0)->Exchange({}, Operation("a", 1)); }, testing::Throws<ExchangeEnded>());
  EXPECT_EQ(hub_->Standings()[1].lost, "its connection to the controller ended");
}

TEST_F(ControlTest, ARankThatIsKilledIsNoticedAtOnce) {
  Hub(2);
  const auto survivor = Rank(0);
  const pid_t victim = ::fork();
  if (victim == 0) {
    ControlConnection connection(folder_.path(), 1, kPatience);
    ::pause();
  }
  AwaitStanding(1, &RankStanding::connected);
  Clock::time_point killed;
  std::jthread killer([&] {
    std::this_thread::sleep_for(milliseconds(50));  // the survivor waits by then
    killed = Clock::now();
    ::kill(victim, SIGKILL);
  });
  EXPECT_THROW(survivor->Exchange({}, Operation("a", 1)), ExchangeEnded);
  const auto noticed = Clock::now();
  killer.join();
  EXPECT_LT(noticed - killed, kAtOnce);
  pollfd news{hub_->news(), POLLIN, 0};
  EXPECT_EQ(::poll(&news, 1, 0), 1);
  ::waitpid(victim, nullptr, 0);
}

TEST_F(ControlTest, AFarewellIsNoLoss) {
  Hub(2);
  const auto peer = Rank(0);
  Rank(1)->Tell(Farewell{});
  EXPECT_THAT([&] { peer->Exchange({}, End()); }, testing::ThrowsMessage<ExchangeEnded>("rank 1 has left the pool"));
  EXPECT_TRUE(hub_->Lost().empty());
  EXPECT_TRUE(hub_->Standings()[1].left);
}

TEST_F(ControlTest, ARankThatCannotGoOnIsLostAndSaysWhy) {
  Hub(2);
  const auto peer = Rank(0);
  Rank(1)->Tell(Farewell{"the disk is full"});
  EXPECT_THAT([&] { peer->Exchange({}, End()); }, testing::ThrowsMessage<ExchangeEnded>("rank 1 is gone"));
  EXPECT_EQ(hub_->Lost(), (std::vector<std::vector<int>>{{1}}));
  EXPECT_EQ(hub_->Standings()[1].failure, "the disk is full");
  EXPECT_FALSE(hub_->Standings()[1].left);
}

TEST_F(ControlTest, AnExchangeOfOthersDoesNotEndWithARank) {
  Hub(3);
  const auto first = Rank(0), second = Rank(1);
  Rank(2);
  AwaitStanding(2, &RankStanding::lost);
  std::jthread peer([&] { second->Exchange({0, 1}, End()); });
  EXPECT_EQ(first->Exchange({0, 1}, End()).size(), 2u);
}

TEST_F(ControlTest, StopsReachThePeersOncePerTest) {
  Hub(2);
  const auto first = Rank(0), second = Rank(1);
  for (int i = 0; i < 1000; ++i) first->Tell(StopNotice{4});
  const auto until = Clock::now() + kPatience;
  while (!second->peer_stop() && Clock::now() < until) second->Receive();
  ASSERT_TRUE(second->peer_stop());
  EXPECT_EQ(second->peer_stop()->rank, 0);
  EXPECT_EQ(second->peer_stop()->test, 4);
  EXPECT_FALSE(first->peer_stop());
}

TEST_F(ControlTest, ARankThatConnectsLaterLearnsOfAStop) {
  Hub(2);
  const auto first = Rank(0);
  first->Tell(StopNotice{0});
  first->Exchange({0}, End());  // the hub has seen the notice
  const auto second = Rank(1);
  const auto until = Clock::now() + kPatience;
  while (!second->peer_stop() && Clock::now() < until) second->Receive();
  ASSERT_TRUE(second->peer_stop());
  EXPECT_EQ(second->peer_stop()->rank, 0);
  EXPECT_EQ(second->peer_stop()->test, 0);
}

TEST_F(ControlTest, TheControllersEndEndsAWait) {
  Hub(2);
  const auto rank = Rank(0);
  std::jthread end([&] {
    AwaitStanding(0, &RankStanding::waits);
    hub_.reset();
  });
  EXPECT_THAT([&] { rank->Exchange({}, End()); },
              testing::ThrowsMessage<ControlError>("the controller has closed the connection"));
}

TEST_F(ControlTest, ASilentControllerIsGivenUp) {
  Hub(2);
  ControlConnection rank(folder_.path(), 0, std::chrono::seconds(1));
  EXPECT_THAT([&] { rank.Exchange({}, End()); }, testing::ThrowsMessage<ControlError>("the controller is silent"));
}

TEST_F(ControlTest, StandingsSayWhereEachRankIs) {
  Hub(3);
  const auto first = Rank(0), second = Rank(1), third = Rank(2);
  EXPECT_EQ(DescribeStandings(hub_->Standings()), "");
  third->Tell(Position{"tensor.full", 2});
  second->Tell(RaisedError{"model.forward", 3, "RuntimeError: no\nway"});
  std::jthread waits([&] { EXPECT_THROW(second->Exchange({}, Operation("model.backward", 4)), ControlError); });
  std::jthread waits_too([&] { EXPECT_THROW(first->Exchange({}, Operation("model.backward", 4)), ControlError); });
  AwaitStanding(0, &RankStanding::waits);
  AwaitStanding(1, &RankStanding::waits);
  EXPECT_EQ(DescribeStandings(hub_->Standings()),
            "rank 2 in tensor.full (step 2), ranks 0, 1 wait for their peers before model.backward (step 4); rank 1 "
            "raised RuntimeError: no way in model.forward (step 3)");
  hub_.reset();
}

TEST_F(ControlTest, TheEndOfATestClearsItsStandings) {
  Hub(1);
  const auto rank = Rank(0);
  rank->Tell(RaisedError{"model.forward", 3, "no"});
  rank->Exchange({}, Operation("model.forward", 3));
  EXPECT_EQ(hub_->Standings()[0].errors.size(), 1u);
  rank->Exchange({}, End());
  EXPECT_EQ(hub_->Standings()[0].test, 1);
  EXPECT_EQ(hub_->Standings()[0].errors.size(), 0u);
  EXPECT_EQ(DescribeStandings(hub_->Standings()), "");
}

}  // namespace
}  // namespace shardcts
