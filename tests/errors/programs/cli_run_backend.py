from chainrule.cli import main

main(["run", "mlp", "--backend", "cuda"])
