"""Pictures as SVG text: curves, grids of images, planes, shades, graphs. No drawing library is needed."""

from chainrule.pictures.curves import Series, curves
from chainrule.pictures.graphs import graph_picture
from chainrule.pictures.heat import heat_map
from chainrule.pictures.maps import Panel, image_panels
from chainrule.pictures.plane import Dot, Line, Plane, planes

__all__ = ["Dot", "Line", "Panel", "Plane", "Series", "curves", "graph_picture", "heat_map", "image_panels", "planes"]
