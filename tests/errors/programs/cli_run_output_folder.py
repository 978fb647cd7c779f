from chainrule.cli import main

main(["run", "digits", "--backend", "reference", "--output", "results/y.npz"])
