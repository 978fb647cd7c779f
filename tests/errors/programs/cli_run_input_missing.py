from chainrule.cli import main

main(["run", "mlp", "--input", "x.npy"])
