"""What is told of a run: tables, and the page docs/check_coverage.md."""
