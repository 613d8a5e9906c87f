"""From YAML and the command line to typed stages."""

from pipeline.config import clash

clash.refuse()
