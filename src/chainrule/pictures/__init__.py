"""Pictures as SVG text: curves, grids of images, graphs. No drawing library is needed to make or to see them."""

from chainrule.pictures.curves import Series, curves
from chainrule.pictures.graphs import graph_picture
from chainrule.pictures.maps import Panel, image_panels

__all__ = ["Panel", "Series", "curves", "graph_picture", "image_panels"]
