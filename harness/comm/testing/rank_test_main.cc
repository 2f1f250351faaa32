#include "comm/testing/rank_tests.h"

int main(int argc, char** argv) { return shardcts::RunRankTests(argc, argv); }
