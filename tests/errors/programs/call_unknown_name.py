import numpy as np

import chainrule as cr


def model(image):
    return image * 2


run = cr.compile(model, cr.spec(3))
run(img=np.zeros(3, np.float32))
