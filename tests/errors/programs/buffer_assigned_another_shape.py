import chainrule as cr
from chainrule import nn


class Count(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("total", [0.0, 0.0])

    def __call__(self, x):
        self.total.assign(self.total.sum() + x)
        return x


cr.compile(Count(), cr.spec(3))
