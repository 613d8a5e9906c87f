"""`python -m pipeline.runs`: see pipeline/housekeeping/runs_command.py, which stands on what lies above this room."""

from pipeline.housekeeping.runs_command import main
from pipeline.terminal import command

if __name__ == "__main__":
    command.run(main)
