"""The graph: types, dims, nodes, text, verifier and buffer plan."""
