"""Pictures of networks and of what they do, drawn from the models themselves with matplotlib.

Every `draw_...` function returns a matplotlib Figure, which `write_png(figure, path)` or `figure.savefig(path)` writes
and a notebook shows. Nothing here opens a window, and matplotlib is imported on the first call. docs/pictures.md shows
each.
"""

from minires.inspection.pictures.family import Member, draw_family
from minires.inspection.pictures.figures import write_gif, write_png
from minires.inspection.pictures.graph import draw_graph
from minires.inspection.pictures.heat import draw_explanations, draw_grad_cam, draw_randomisation, draw_saliency
from minires.inspection.pictures.maps import draw_feature_maps, draw_filters
from minires.inspection.pictures.mistakes import draw_confusion_matrix, draw_images
from minires.inspection.pictures.network import draw_network
from minires.inspection.pictures.patches import draw_im2col, im2col_frames

__all__ = [
    "Member",
    "draw_confusion_matrix",
    "draw_explanations",
    "draw_family",
    "draw_feature_maps",
    "draw_filters",
    "draw_grad_cam",
    "draw_graph",
    "draw_im2col",
    "draw_images",
    "draw_network",
    "draw_randomisation",
    "draw_saliency",
    "im2col_frames",
    "write_gif",
    "write_png",
]
