"""Label an image with an exported network: python run_ncnn.py NETWORK.param IMAGE (pip install ncnn numpy pillow)."""

import json
import sys
from pathlib import Path

import ncnn
import numpy as np
from PIL import Image, ImageOps

if len(sys.argv) != 3:
    sys.exit(__doc__)
network, picture = sys.argv[1:]
about = json.loads(Path(network).with_name("about.json").read_text("utf-8"))
net = ncnn.Net()
net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False  # exact
net.load_param(network)
net.load_model(network.removesuffix("param") + "bin")
height, width = about["image_size"]
image = ImageOps.exif_transpose(Image.open(picture))  # turned as viewers show it
if image.mode[0] in "IF":
    sys.exit(f"{picture}: has more than 8 bits per channel (mode {image.mode}); save it with 8 bits")
image = image.convert("RGB")
if "border" in about:  # a photo to classify: its middle, without this share of each side
    image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR, about["border"])
pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), np.float32).transpose(2, 0, 1).copy()
with net.create_extractor() as run:
    run.input("in0", ncnn.Mat(pixels))
    labels = np.array(run.extract("out0")[1]).argmax(0)
for index, share in zip(*np.unique(labels, return_counts=True), strict=True):
    print(f"{about['classes'][index]}: {share / labels.size:.1%}")
if labels.ndim:
    mask = Image.fromarray(labels.astype(np.uint8)).resize(image.size, Image.Resampling.NEAREST)
    mask.putpalette([value for colour in about["colours"] for value in colour])
    mask.save("labels.png")
    print("saved: labels.png")
