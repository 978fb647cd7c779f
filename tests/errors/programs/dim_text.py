import chainrule as cr

cr.spec("2*", 3)
