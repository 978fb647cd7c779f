"""What a user writes models with: tracing, tensors, functions, layers, optimisers, data, the training loop."""
