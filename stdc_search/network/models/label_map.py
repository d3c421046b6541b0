"""From scores on a coarse grid to the class of each pixel, without computing scores for each pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LabelMap(nn.Module):
    """Bilinear up-sampling (corners aligned) and argmax in one step: scores N, classes, h, w -> classes uint8 N, H, W.

    If the four corners of a grid cell have the same best class, it is the best everywhere in the cell, because
    interpolation weighs the corners equally for all classes. Only the other cells, which contain a border, are
    interpolated: a product of their corners and the weights of their pixels. The result equals up-sampling and argmax
    wherever the two highest scores differ by more than rounding.
    """

    def forward(self, scores: Tensor, image: Tensor) -> Tensor:
        """Scores, image -> label map with the image's height and width, which must not be smaller than the scores'."""
        classes, height, width = scores.shape[1:]
        rows, cell_of_row, down = _side(height, image.shape[2], scores)
        columns, cell_of_column, across = _side(width, image.shape[3], scores)
        best = scores.argmax(1)
        # Compared before they become bytes: ONNX Runtime 1.19 and older compare no bytes.
        mixed = (best != _next(best, 1)) | (best != _next(best, 2)) | (best != _next(_next(best, 1), 2))
        best = best.to(torch.uint8)
        n, y, x = mixed.nonzero(as_tuple=True)

        above, below = (n * height + y) * width, (n * height + (y + 1).clamp(max=height - 1)) * width
        right = (x + 1).clamp(max=width - 1)
        points = scores.permute(0, 2, 3, 1).reshape(-1, classes)
        corners = points[torch.stack([above + x, above + right, below + x, below + right], 1)]  # cells, 4, classes
        down, across = down[y].unsqueeze(2), across[x].unsqueeze(1)
        up, back = 1 - down, 1 - across
        weights = torch.stack([up * back, up * across, down * back, down * across], 1).flatten(2)  # cells, 4, pixels
        found = (corners.transpose(1, 2) @ weights).argmax(1).to(torch.uint8)

        # Columns first: then only whole rows are copied.
        spread = best.index_select(2, cell_of_column).index_select(1, cell_of_row)
        places = (n.unsqueeze(1) * len(cell_of_row) + rows[y]).unsqueeze(2) * len(cell_of_column)
        places = places + columns[x].unsqueeze(1)
        return spread.flatten().index_put((places.flatten(),), found.flatten()).view(spread.shape)


def _side(points: int, pixels: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Positions of the grid's cells along a side, in exact fractions: pixel i is at i * gaps / span.

    Returns:
        The pixels of each cell, the same number for each: cells with fewer repeat their last pixel.
        The cell of each pixel.
        Position of each pixel between the grid points around it, 0 to 1.
    """
    gaps, span = points - 1, max(pixels - 1, 1)
    point = torch.arange(points, device=like.device).unsqueeze(1)
    first = (point * span + max(gaps - 1, 0)) // max(gaps, 1)
    last = ((point + 1) * span // max(gaps, 1)).clamp(max=pixels - 1)
    inside = torch.minimum(first + torch.arange(span // max(gaps, 1) + 1, device=like.device), last)
    cell = torch.arange(pixels, device=like.device) * gaps // span
    return inside, cell, ((inside * gaps - point * span) / span).to(like.dtype)


def _next(x: Tensor, dim: int) -> Tensor:
    """The next element along a side; the last one repeats."""
    return torch.cat([x.narrow(dim, 1, x.shape[dim] - 1), x.narrow(dim, x.shape[dim] - 1, 1)], dim)
