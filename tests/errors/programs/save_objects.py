import numpy as np

import chainrule as cr

cr.save({"names": np.array(["a", "b"])}, "net.safetensors")
