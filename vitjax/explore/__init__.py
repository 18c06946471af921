"""An HTML page to explore images with: attention by patch, rollout, methods, classes, and curves of removed pixels."""

from vitjax.explore.page import write_page
from vitjax.explore.view import Explored, explore_images

__all__ = ["Explored", "explore_images", "write_page"]
