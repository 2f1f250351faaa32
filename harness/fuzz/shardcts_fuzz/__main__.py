"""`shardcts fuzz`, which starts this with --shardcts PATH first."""

import sys

from shardcts_fuzz.command import main

sys.exit(main(sys.argv[1:]))
