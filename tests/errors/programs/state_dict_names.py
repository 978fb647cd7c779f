from chainrule import nn

net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
state = net.state_dict()
state["0.wieght"] = state.pop("0.weight")
net.load_state_dict(state)
