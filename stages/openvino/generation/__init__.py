"""A decoder whose cache lies in states, and what runs its folder here and where it is delivered."""
