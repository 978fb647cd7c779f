import chainrule as cr

cr.spec("N", 3, dtype="float33")
