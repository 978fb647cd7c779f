from chainrule import nn

nn.Linear(4, 8).load_state_dict(nn.Linear(5, 8).state_dict())
