"""`python -m pipeline.store`: see pipeline/housekeeping/store_command.py, which stands on what lies above the store."""

import gc

from pipeline.housekeeping.store_command import main
from pipeline.terminal import command

if __name__ == "__main__":
    gc.disable()  # 100,000 results are a million objects, none of them in a cycle: looking for cycles costs a fifth
    command.run(main)
