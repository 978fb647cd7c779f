import numpy as np

import chainrule as cr

cr.ArrayData(np.zeros((10, 2)), batch_size=4).batch(0, 3)
