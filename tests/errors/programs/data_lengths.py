import numpy as np

import chainrule as cr

cr.ArrayData(np.zeros((100, 3)), np.zeros(99))
