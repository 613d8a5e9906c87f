"""What a program is written in other words for, before coremltools sees it and while it converts."""
