import chainrule as cr
from chainrule import nn


class Net(nn.Module):
    def __call__(self, x):
        return x * 2


cr.compile(Net, cr.spec(3))
