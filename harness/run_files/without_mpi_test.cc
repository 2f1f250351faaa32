// What a build without MPI refuses: implementation_spec.cc is compiled once more, as it is there.
#include <gtest/gtest.h>

#include "run_files/implementation_spec.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

TEST(WithoutMpiTest, CommMpiIsRefusedInOneLine) {
  try {
    ParseImplementationSpec("reference,comm=mpi");
    FAIL() << "nothing is refused";
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(),
                 "--impl reference,comm=mpi: comm=mpi: ShardCTS was built without MPI; install MPICH (package mpich of "
                 "Debian or PyPI) and build again");
  }
}

TEST(WithoutMpiTest, OtherCommunicatorsAreTaken) {
  EXPECT_EQ(ParseImplementationSpec("reference,comm=local").label, "reference,comm=local");
  EXPECT_EQ(ParseImplementationSpec("reference").label, "reference");
}

}  // namespace
}  // namespace shardcts
