"""The public functions on tensors, by theme. The package's face lists them; see chainrule/__init__.py."""
