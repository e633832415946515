# lossexport beside the vendor's own TensorRT, for building and running engines on a GPU.
# CI does not build this file: it needs the vendor's registry, and a GPU to be of use.
#
#   docker build -t lossexport .
#   docker run --rm --gpus all -v "$PWD:/data" lossexport \
#       export ciou_loss --gradient --format onnx,engine --backend tensorrt --out out
#   docker run --rm --gpus all -v "$PWD:/data" lossexport verify out
FROM nvcr.io/nvidia/tensorrt:26.07-py3

COPY . /opt/lossexport
# Not the extra `tensorrt`: it would put a second TensorRT over the image's. NVRTC compiles the
# kernels of the plugins.
RUN pip install --no-cache-dir -c /opt/lossexport/constraints.txt \
    "/opt/lossexport[toolchain,gpu]" nvidia-cuda-nvrtc

WORKDIR /data
ENTRYPOINT ["lossexport"]
