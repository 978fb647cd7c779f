from chainrule.cli import main

main(["compile", "lenet", "--spec", "float32 1x28x28"])
