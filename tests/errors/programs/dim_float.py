import chainrule as cr

cr.spec(3.5)
