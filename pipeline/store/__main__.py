"""`python -m pipeline.store`: see pipeline/housekeeping/store_command.py, which stands on what lies above the store."""

from pipeline.housekeeping.store_command import main
from pipeline.terminal import command

if __name__ == "__main__":
    command.run(main)
