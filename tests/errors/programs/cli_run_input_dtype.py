import numpy as np

from chainrule.cli import main

np.save("x.npy", np.zeros((1, 784)))
main(["run", "mlp", "--input", "x.npy", "--backend", "reference"])
