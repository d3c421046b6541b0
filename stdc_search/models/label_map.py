"""From scores of a coarse grid to the class of each pixel, without the scores of each pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LabelMap(nn.Module):
    """Bilinear up-sampling with corners aligned and argmax in one: scores N, classes, h, w -> classes uint8 N, H, W.

    Where the four corners of a cell of the grid have the same best class, it is the best anywhere between them, since
    interpolation weighs the corners alike for all classes. So only the pixels of other cells, which a border runs
    through, are interpolated. Equal to up-sampling and argmax wherever the two highest scores differ by more than
    rounding does.
    """

    def forward(self, scores: Tensor, image: Tensor) -> Tensor:
        """Scores, and the image of whose height and width the label map is."""
        classes, height, width = scores.shape[1:]
        top, bottom, down = _between(height, image.shape[2], scores)
        left, right, across = _between(width, image.shape[3], scores)
        best = scores.argmax(1).to(torch.uint8)
        mixed = (best != _shifted(best, 1)) | (best != _shifted(best, 2)) | (best != _shifted(_shifted(best, 1), 2))
        n, y, x = _spread(mixed, top, left).nonzero(as_tuple=True)
        points = scores.permute(0, 2, 3, 1).reshape(-1, classes)
        above, below = (n * height + top[y]) * width, (n * height + bottom[y]) * width
        across, down = across[x].unsqueeze(1), down[y].unsqueeze(1)
        upper = _mean(points.index_select(0, above + left[x]), points.index_select(0, above + right[x]), across)
        lower = _mean(points.index_select(0, below + left[x]), points.index_select(0, below + right[x]), across)
        found = _mean(upper, lower, down).argmax(1)
        return _spread(best, top, left).index_put((n, y, x), found.to(torch.uint8))


def _between(points: int, pixels: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each pixel of a side the grid points before and after it, and how far it has come from one to the other."""
    place = torch.arange(pixels, device=like.device) * ((points - 1) / max(pixels - 1, 1))
    before = place.long().clamp(max=points - 1)
    return before, (before + 1).clamp(max=points - 1), (place - before).to(like.dtype)


def _shifted(x: Tensor, dim: int) -> Tensor:
    """What lies one further along a side; the last stays."""
    return torch.cat([x.narrow(dim, 1, x.shape[dim] - 1), x.narrow(dim, x.shape[dim] - 1, 1)], dim)


def _spread(cells: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """To each pixel what its cell has."""
    return cells.index_select(1, rows).index_select(2, columns)


def _mean(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """As `torch.lerp`, in the two operations that a runtime needs for it."""
    return first + share * (second - first)
