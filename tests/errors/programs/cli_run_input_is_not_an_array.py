from pathlib import Path

from chainrule.cli import main

Path("x.npy").write_text("1, 2, 3")
main(["run", "mlp", "--input", "x.npy"])
