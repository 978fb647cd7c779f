from chainrule import nn

nn.MSELoss(reduction="average")
