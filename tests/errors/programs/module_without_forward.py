import chainrule as cr
from chainrule import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def foward(self, x):
        return self.fc(x)


cr.compile(Net(), cr.spec("N", 3))
