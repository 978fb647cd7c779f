from pathlib import Path

from chainrule.cli import main

Path("x.npz").write_bytes(b"PK\x03\x04 nothing more")
main(["run", "mlp", "--input", "x.npz"])
