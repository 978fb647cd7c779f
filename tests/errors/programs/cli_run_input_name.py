import numpy as np

from chainrule.cli import main

np.save("x.npy", np.zeros((1, 784), np.float32))
main(["run", "mlp", "--input", "image=x.npy"])
