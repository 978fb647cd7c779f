"""Kernel templates: one function per op family, from op to loop IR."""
