"""The networks that are measured, one a file; build() gives a model with seeded weights and the specs of its inputs."""
