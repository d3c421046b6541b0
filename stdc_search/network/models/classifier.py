"""STDC classifier: ConvX6, squared global pool, FC1, FC2 (Fan et al. 2021, Table 2).

Original code: MichaelFan01/STDC-Seg, which squares the last features before it averages them, and carries a batch
norm that is never called; the published weights and parameter counts have it.
"""

from __future__ import annotations

from torch import Tensor, nn

from stdc_search.network.models.layers import init_fan_out


class HiddenLayer(nn.Module):
    """FC1: linear layer without bias, ReLU, dropout; `bn` is never called."""

    def __init__(self, in_features: int, out_features: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=False)
        self.bn = nn.BatchNorm1d(out_features)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.relu(self.linear(x)))


class AveragePool(nn.Module):
    """Mean over the map: N, C, H, W -> N, C."""

    def __init__(self) -> None:
        super().__init__()
        self.average = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.average(x).flatten(1)


class SquaredPool(AveragePool):
    """Mean of the squares over the map, as released."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.square())


class WholeClassifier(nn.Module):
    """A classifier that is one module: image -> scores of its classes."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, image: Tensor) -> Tensor:
        return self.body(image)


class Classifier(nn.Module):
    """Image to scores of its classes.

    Args:
        backbone: image -> features of every stage.
        conv: last stage -> features; none if the last stage has them.
        pool: features -> N, C.
        hidden: N, C -> N, hidden; none if the last layer follows the pool.
        out: N, hidden -> N, classes.
    """

    def __init__(
        self, *, backbone: nn.Module, conv: nn.Module | None, pool: nn.Module, hidden: nn.Module | None, out: nn.Module
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.conv = conv
        self.pool = pool
        self.hidden = hidden
        self.out = out
        self.apply(init_fan_out)

    def forward(self, image: Tensor) -> Tensor:
        x = self.backbone(image)[-1]  # 1/32
        x = self.pool(x if self.conv is None else self.conv(x))
        return self.out(x if self.hidden is None else self.hidden(x))
