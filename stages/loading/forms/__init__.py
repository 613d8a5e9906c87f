"""Forms of weights other than a plain state dict: adapters, wrappers, parametrised and quantised weights."""
