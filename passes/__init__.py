"""Passes: Graph -> Graph, one a file. `pipelines` names the lists of passes that backends run."""
