"""What a file of weights may be besides a plain state dict: adapters, wrappers, parametrised and quantised weights."""
