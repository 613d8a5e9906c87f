"""A decoder with its cache in states, its folder, and what runs it here and on a device."""
