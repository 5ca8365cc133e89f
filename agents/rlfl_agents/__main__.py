"""`python -m rlfl_agents` is `rlfl`; several processes: `torchrun --nproc_per_node 2 -m rlfl_agents train ID`."""

import sys

from rlfl_agents.cli import main

sys.exit(main())
