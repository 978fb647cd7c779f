import chainrule as cr
from chainrule import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3)

    def __call__(self, x):
        return cr.relu(self.conv(x))


cr.compile(Net(), cr.spec("N", 4, 32, 32))
