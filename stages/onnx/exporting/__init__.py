"""What keeps the exporters of torch from losing or renaming anything: parts of exporters.py."""
