"""`python tests/faults`: see fault_parts.py."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2] / "src"), str(Path(__file__).parents[1])]
    from fault_parts import main

    sys.exit(main())
