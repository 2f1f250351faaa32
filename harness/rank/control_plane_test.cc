// Ranks that are threads of this program, each with a connection of its own.
#include "rank/control_plane.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <thread>

#include "comm/communicator.h"
#include "control/connection.h"
#include "control/hub.h"
#include "testing/temporary_folder.h"

namespace shardcts {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

class ControlPlaneTest : public testing::Test {
 protected:
  // Runs each function on a rank; a rank that has ended is gone for the others.
  void OnRanks(const std::vector<std::function<void(ControlPlane&)>>& bodies) {
    ControlHub hub({static_cast<int>(bodies.size()), folder_.path()});
    std::vector<std::jthread> ranks;
    for (size_t rank = 0; rank < bodies.size(); ++rank) {
      ranks.emplace_back([&, rank] {
        ControlConnection connection(folder_.path(), static_cast<int>(rank), std::chrono::seconds(20));
        ControlPlane control(connection);
        bodies[rank](control);
      });
    }
  }

  TemporaryFolder folder_;
};

TEST_F(ControlPlaneTest, TheLargestStepIsTakenByAll) {
  OnRanks({[](ControlPlane& control) { EXPECT_EQ(control.BeforeCollective("a", 3), 7); },
           [](ControlPlane& control) { EXPECT_EQ(control.BeforeCollective("a", 7), 7); }});
}

TEST_F(ControlPlaneTest, DifferentOperationsDiverge) {
  OnRanks({[](ControlPlane& control) {
             EXPECT_THAT([&] { control.BeforeCollective("a", 1); },
                         testing::ThrowsMessage<Diverged>("rank 0 calls a, but rank 1 calls b"));
             control.EndOfTest(true, false);
           },
           [](ControlPlane& control) {
             EXPECT_THROW(control.BeforeCollective("b", 1), Diverged);
             control.EndOfTest(true, false);
           }});
}

TEST_F(ControlPlaneTest, AFailureStopsThePeersAndTheNextTestRuns) {
  OnRanks({[](ControlPlane& control) {
             EXPECT_FALSE(control.EndOfTest(true, false));
             EXPECT_EQ(control.BeforeCollective("next", 1), 1);
           },
           [](ControlPlane& control) {
             EXPECT_THAT([&] { control.BeforeCollective("a", 1); },
                         testing::ThrowsMessage<PeerStopped>("rank 1 calls a, but rank 0 stopped after a failure"));
             EXPECT_FALSE(control.EndOfTest(true, false));
             EXPECT_EQ(control.BeforeCollective("next", 1), 1);
           }});
}

TEST_F(ControlPlaneTest, ABrokenCommunicatorIsKnownToAll) {
  OnRanks({[](ControlPlane& control) { EXPECT_TRUE(control.EndOfTest(false, false)); },
           [](ControlPlane& control) { EXPECT_TRUE(control.EndOfTest(false, true)); }});
}

TEST_F(ControlPlaneTest, SomeRanksGoOnAlone) {
  const auto member = [](ControlPlane& control) {
    control.Among({2, 0}, [&] {
      EXPECT_TRUE(control.among());
      EXPECT_THAT(control.AllGatherInTest(std::to_string(control.rank())), testing::ElementsAre("0", "2"));
    });
    EXPECT_FALSE(control.among());
    EXPECT_EQ(control.BeforeCollective("a", 1), 1);
  };
  OnRanks({member,
           [](ControlPlane& control) {
             control.Among({0, 2}, [] { FAIL() << "rank 1 is not among them"; });
             EXPECT_EQ(control.BeforeCollective("a", 1), 1);
           },
           member});
}

TEST_F(ControlPlaneTest, AFailureAmongSomeStopsThese) {
  OnRanks({[](ControlPlane& control) {
             EXPECT_THROW(control.Among({0, 1}, [] { throw std::runtime_error("mine"); }), std::runtime_error);
           },
           [](ControlPlane& control) {
             EXPECT_THROW(control.Among({0, 1}, [&] { control.BeforeCollective("a", 1); }), PeerStopped);
           }});
}

TEST_F(ControlPlaneTest, AWaitLearnsOfAStopAfterAWhile) {
  OnRanks({[](ControlPlane& control) {
             control.NotifyPeersOfStop();
             control.EndOfTest(true, false);
             control.EndOfTest(false, false);
           },
           [](ControlPlane& control) {
             const auto begin = std::chrono::steady_clock::now();
             std::optional<std::string> stop;
             while (!stop && std::chrono::steady_clock::now() < begin + std::chrono::seconds(10)) {
               stop = control.StopOfAPeer();
             }
             EXPECT_EQ(stop, "rank 0 stopped after a failure");
             EXPECT_EQ(control.stopped_by(), "rank 0 stopped after a failure");
             EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(100));
             control.EndOfTest(true, false);
             EXPECT_EQ(control.stopped_by(), "");
             std::this_thread::sleep_for(milliseconds(150));
             EXPECT_EQ(control.StopOfAPeer(), std::nullopt) << "it was for the test before";
             control.EndOfTest(false, false);
           }});
}

TEST_F(ControlPlaneTest, APeerThatIsGoneEndsEverything) {
  OnRanks({[](ControlPlane& control) {
             EXPECT_THAT([&] { control.BeforeCollective("a", 1); },
                         testing::ThrowsMessage<PeerStopped>("rank 0 calls a, but rank 1 is gone"));
             EXPECT_TRUE(control.must_leave());
             EXPECT_EQ(control.StopOfAPeer(), "rank 1 is gone");
             EXPECT_THROW(control.EndOfTest(true, false), PeerStopped);
             EXPECT_THROW(control.AllGather(""), CommunicationError);
           },
           [](ControlPlane&) {}});
}

TEST_F(ControlPlaneTest, WithoutPeersNothingIsWaitedFor) {
  ControlPlane control;
  EXPECT_EQ(control.BeforeCollective("a", 5), 5);
  EXPECT_THAT(control.AllGatherInTest("x"), testing::ElementsAre("x"));
  EXPECT_THAT(control.AllGather("y"), testing::ElementsAre("y"));
  EXPECT_FALSE(control.EndOfTest(false, false));
}

}  // namespace
}  // namespace shardcts
