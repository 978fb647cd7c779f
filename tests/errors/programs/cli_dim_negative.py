from chainrule.cli import main

main(["run", "mlp", "--dim", "N=-2"])
