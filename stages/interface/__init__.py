"""A model's interface: inputs, dimensions, outputs, and how forward is called with them."""
