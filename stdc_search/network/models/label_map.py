"""From scores of a coarse grid to the class of each pixel, without the scores of each pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LabelMap(nn.Module):
    """Bilinear up-sampling with corners aligned and argmax in one: scores N, classes, h, w -> classes uint8 N, H, W.

    Where the four corners of a cell of the grid have the same best class, it is the best anywhere between them, since
    interpolation weighs the corners alike for all classes. So only the other cells, which a border runs through, are
    interpolated, each as a product of its corners and its pixels' weights. Equal to up-sampling and argmax wherever
    the two highest scores differ by more than rounding does.
    """

    def forward(self, scores: Tensor, image: Tensor) -> Tensor:
        """Scores, and the image, no smaller than their grid, of whose height and width the label map is."""
        classes, height, width = scores.shape[1:]
        rows, cell_of_row, down = _side(height, image.shape[2], scores)
        columns, cell_of_column, across = _side(width, image.shape[3], scores)
        best = scores.argmax(1).to(torch.uint8)
        mixed = (best != _next(best, 1)) | (best != _next(best, 2)) | (best != _next(_next(best, 1), 2))
        n, y, x = mixed.nonzero(as_tuple=True)

        above, below = (n * height + y) * width, (n * height + (y + 1).clamp(max=height - 1)) * width
        right = (x + 1).clamp(max=width - 1)
        points = scores.permute(0, 2, 3, 1).reshape(-1, classes)
        corners = points[torch.stack([above + x, above + right, below + x, below + right], 1)]  # cells, 4, classes
        down, across = down[y].unsqueeze(2), across[x].unsqueeze(1)
        up, back = 1 - down, 1 - across
        weights = torch.stack([up * back, up * across, down * back, down * across], 1).flatten(2)  # cells, 4, pixels
        found = (corners.transpose(1, 2) @ weights).argmax(1).to(torch.uint8)

        # Columns first, since what is then copied for each row is whole rows.
        spread = best.index_select(2, cell_of_column).index_select(1, cell_of_row)
        places = (n.unsqueeze(1) * len(cell_of_row) + rows[y]).unsqueeze(2) * len(cell_of_column)
        places = places + columns[x].unsqueeze(1)
        return spread.flatten().index_put((places.flatten(),), found.flatten()).view(spread.shape)


def _side(points: int, pixels: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How the cells of a grid lie along a side, in exact fractions: pixel i is at i * gaps / span.

    Returns:
        The pixels of each cell, as many of each: where others have more, the last is repeated.
        The cell of each pixel.
        How far each pixel of each cell has come from the point before it to the next one, 0 to 1.
    """
    gaps, span = points - 1, max(pixels - 1, 1)
    point = torch.arange(points, device=like.device).unsqueeze(1)
    first = (point * span + max(gaps - 1, 0)) // max(gaps, 1)
    last = ((point + 1) * span // max(gaps, 1)).clamp(max=pixels - 1)
    inside = torch.minimum(first + torch.arange(span // max(gaps, 1) + 1, device=like.device), last)
    cell = torch.arange(pixels, device=like.device) * gaps // span
    return inside, cell, ((inside * gaps - point * span) / span).to(like.dtype)


def _next(x: Tensor, dim: int) -> Tensor:
    """What lies one further along a side; the last stays."""
    return torch.cat([x.narrow(dim, 1, x.shape[dim] - 1), x.narrow(dim, x.shape[dim] - 1, 1)], dim)
