"""One file per stage, named by its verb. A stage imports the contract, and its vendor inside `run` only."""
