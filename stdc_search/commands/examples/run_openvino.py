"""Label an image with an exported network: python run_openvino.py NETWORK.xml IMAGE (pip install openvino pillow)."""

import json
import sys

import numpy as np
import openvino
from PIL import Image, ImageOps

if len(sys.argv) != 3:
    sys.exit(__doc__)
network, picture = sys.argv[1:]
model = openvino.Core().read_model(network)
about = json.loads(model.get_rt_info("about").astype(str))
exact = {"INFERENCE_PRECISION_HINT": "f32"}  # without it OpenVINO computes in bf16 where the CPU is faster at that
compiled = openvino.Core().compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", **exact})
height, width = about["image_size"]
image = ImageOps.exif_transpose(Image.open(picture))  # turned as viewers show it
if image.mode[0] in "IF":
    sys.exit(f"{picture}: has more than 8 bits per channel (mode {image.mode}); save it with 8 bits")
image = image.convert("RGB")
if "border" in about:  # a photo to classify: its middle, without this share of each side
    image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR, about["border"])
pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))[None]
labels = compiled(pixels)[0][0]
for index, share in zip(*np.unique(labels, return_counts=True), strict=True):
    print(f"{about['classes'][index]}: {share / labels.size:.1%}")
if labels.ndim:
    mask = Image.fromarray(labels).resize(image.size, Image.Resampling.NEAREST)
    mask.putpalette([value for colour in about["colours"] for value in colour])
    mask.save("labels.png")
    print("saved: labels.png")
