"""A network that another tool exported to ONNX: it is counted, timed and scored as it stands, never trained.

ONNX Runtime runs it in place of PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from stdc_search.errors import UserError, brief
from stdc_search.network.onnx_content import Shape, read
from stdc_search.spec.data import MEAN, STD

if TYPE_CHECKING:
    import onnxruntime as ort

PLACE = "stdc_search"
"""Domain of the operator that stands for a file's graph while PyTorch exports what follows it."""


class OnnxFile(nn.Module):
    """A file as a module: normalised images N, 3, H, W -> scores N, classes, h, w, as a tuple of one.

    A class map becomes scores of 0 and 1 with the size of the image.

    Args:
        classes: number of classes.
        file: its path and digest.
        mean: what the file's images are shifted by, per channel, after they were scaled to [0, 1].
        std: what they are then divided by.

    Raises:
        UserError: it cannot be read, has other inputs or outputs, or needs more than itself.
    """

    def __init__(self, classes: int, file: tuple[Path, str], mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.classes, self.path = classes, file[0]
        self.mean, self.std = tuple(mean), tuple(std)
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)  # images are brought to where parameters are
        self.model = read(self.path)
        self.gives_labels = self.model.graph.output[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT
        self._shapes: dict[Shape, Shape] = {}

    def __deepcopy__(self, memo: Any) -> Self:
        return self  # nothing in it ever changes, and a session cannot be copied

    def forward(self, image: Tensor) -> tuple[Tensor]:
        if image.is_meta:
            sides = image.shape[2:] if self.gives_labels else self._shape(tuple(image.shape))[2:]
            return (image.new_empty(len(image), self.classes, *sides),)
        if not self.gives_labels:
            return (self._run(image),)
        return (F.one_hot(self.labels(image).long(), self.classes).permute(0, 3, 1, 2).float(),)

    def labels(self, image: Tensor) -> Tensor:
        """The class map of a file that gives classes: uint8 N, H, W. Smaller maps are enlarged by repetition."""
        found = self._run(image)
        found = found if found.ndim == 4 else found.unsqueeze(1)
        if found.shape[2:] != image.shape[2:]:
            found = F.interpolate(found.float(), image.shape[2:], mode="nearest")
        return found.squeeze(1).to(torch.uint8)

    def renormalised(self, image: Tensor) -> Tensor:
        """Images that are normalised as for our own networks, normalised as for the file."""
        if (self.mean, self.std) == (MEAN, STD):
            return image
        mean, std, new_mean, new_std = image.new_tensor((MEAN, STD, self.mean, self.std))[:, :, None, None]
        return (image * std + mean - new_mean) / new_std

    def _run(self, image: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            dtype, shape = torch.int64 if self.gives_labels else torch.float32, self._shape(tuple(image.shape))
            return torch.onnx.ops.symbolic(f"{PLACE}::File", (image,), dtype=dtype, shape=shape)
        images = self.renormalised(image).cpu().numpy()
        found = np.concatenate([self._result(images[i : i + 1]) for i in range(len(images))])
        return torch.from_numpy(found.astype(np.int64) if self.gives_labels else found).to(image.device)

    def _shape(self, images: Shape) -> Shape:
        """The shape of the output for images of a shape."""
        if images not in self._shapes:
            self._shapes[images] = self._result(np.zeros(images, np.float32)).shape
        return self._shapes[images]

    def _result(self, images: NDArray[np.float32]) -> NDArray[Any]:
        self._check_size(images.shape)
        session = self._session
        try:
            found = session.run(None, {self.model.graph.input[0].name: images})[0]
        except Exception as error:  # ONNX Runtime's errors have no class in common
            raise self._error(f"cannot run on images of shape {images.shape}: {brief(error)}") from None
        assert isinstance(found, np.ndarray)
        if message := self._misfit(found, images.shape):
            raise self._error(message)
        return found

    def _misfit(self, found: NDArray[Any], images: Shape) -> str | None:
        """What is wrong with an output."""
        shape, most = found.shape, self.classes
        is_map = shape[:1] == images[:1] and found.ndim == 4 and all(np.less_equal(shape[2:], images[2:]))
        if self.gives_labels:
            if not (is_map and shape[1] == 1) and not (shape[:1] == images[:1] and found.ndim == 3):
                return f"its output has the shape {shape}; classes must be N, h, w or N, 1, h, w, not above the image"
            if not 0 <= found.min() <= found.max() < most:
                return (
                    f"its classes go from {found.min()} to {found.max()}, but `classes` {most} allows 0 to {most - 1}"
                )
        elif not is_map:
            return f"its output has the shape {shape}; scores must be N, classes, h, w, and h, w not above the image's"
        elif shape[1] != most:
            return f"it has {shape[1]} classes, not {most}; write `classes: {shape[1]}`"
        elif not np.isfinite(found).all():
            return "its scores are not all finite; check `mean` and `std`, or export it again"
        return None

    @cached_property
    def _session(self) -> ort.InferenceSession:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        options.intra_op_num_threads = torch.get_num_threads()
        content, providers = self.model.SerializeToString(), ["CPUExecutionProvider"]
        try:
            return onnxruntime.InferenceSession(content, options, providers=providers)
        except Exception as error:
            raise self._error(f"ONNX Runtime cannot load it: {brief(error)}") from None

    def _error(self, message: str) -> UserError:
        return UserError(f"{self.path}: {message}")

    def _check_size(self, images: Shape) -> None:
        found = [dim.dim_value for dim in self.model.graph.input[0].type.tensor_type.shape.dim]  # 0: any
        if any(there not in (0, here) for there, here in zip(found, images, strict=True)):
            theirs, ours = (" x ".join(str(side or "any") for side in sides) for sides in (found, images))
            raise self._error(
                f"takes images of {theirs} (images, channels, height, width), not {ours}; change `image_size` or "
                "`batch`, or export it for this size"
            )

    @property
    def opset(self) -> int:
        """The version of ONNX's operators that it was written for."""
        return self.model.opset_import[0].version

    def fixed(self, images: Shape) -> onnx.ModelProto:
        """The file's graph for images of one shape."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        del model.graph.value_info[:]
        for value, shape in ((model.graph.input[0], images), (model.graph.output[0], self._shape(images))):
            value.type.tensor_type.ClearField("shape")
            for side in shape:
                value.type.tensor_type.shape.dim.add().dim_value = side
        return model

    def put_into(self, model: onnx.ModelProto, images: Shape) -> None:
        """Put the file's graph in its place in a model that PyTorch exported."""
        (opset,) = (one for one in model.opset_import if one.domain == "")
        inner = self.fixed(images)
        if self.opset != opset.version:
            try:
                inner = onnx.version_converter.convert_version(inner, opset.version)
            except Exception as error:  # the class of its errors is private
                message = f"cannot be converted from opset {self.opset} to {opset.version}: {brief(error)}"
                raise self._error(f"{message}; export it with opset {opset.version}") from None
        inner, graph = onnx.compose.add_prefix(inner, "file/").graph, model.graph
        nodes = [*graph.node]
        (at,) = (i for i, node in enumerate(nodes) if node.domain == PLACE)
        first = onnx.helper.make_node("Identity", nodes[at].input, [inner.input[0].name])
        kind = onnx.TensorProto.INT64 if self.gives_labels else onnx.TensorProto.FLOAT
        last = onnx.helper.make_node("Cast", [inner.output[0].name], nodes[at].output, to=kind)
        nodes[at : at + 1] = [first, *inner.node, last]
        del graph.node[:], model.opset_import[:]
        graph.node.extend(nodes)
        graph.initializer.extend(inner.initializer)
        graph.sparse_initializer.extend(inner.sparse_initializer)
        model.opset_import.append(opset)


def file_in(module: nn.Module) -> OnnxFile | None:
    """The file that a network runs, if it runs one."""
    return next((one for one in module.modules() if isinstance(one, OnnxFile)), None)
