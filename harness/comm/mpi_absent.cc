// In place of the MPI backend, where ShardCTS is built without MPI. `--impl …,comm=mpi` is refused before it comes here.
#include "comm/communicator.h"
#include "comm/mpi_communicator.h"
#include "comm/mpi_session.h"

namespace shardcts {
namespace {

[[noreturn]] void Refuse() { throw CommunicationError("ShardCTS was built without MPI: no mpi.h was found"); }

}  // namespace

MpiSession::MpiSession(int*, char***) { Refuse(); }
MpiSession::~MpiSession() = default;

std::unique_ptr<Communicator> MakeMpiCommunicator() { Refuse(); }

}  // namespace shardcts
