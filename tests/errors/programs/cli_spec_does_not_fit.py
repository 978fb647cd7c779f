from chainrule.cli import main

main(["compile", "lenet", "--spec", "f32[N,3,28,28]"])
