// shardcts-start-rank PROGRAM ARGUMENT…: starts a rank, as a fork of the warm process where there is one. It is a
// program of its own because it must not load LibTorch: that alone costs half a second.
#include <iostream>
#include <string>
#include <vector>

#include "start/warm_client.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: shardcts-start-rank PROGRAM ARGUMENT… (started by `shardcts run` under mpiexec)\n";
    return 2;
  }
  return shardcts::StartRank(std::vector<std::string>(argv + 1, argv + argc));
}
