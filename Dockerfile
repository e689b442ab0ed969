# featx on a processor, or with --build-arg DEVICE=cuda on an NVIDIA GPU:
#   docker build --tag featx .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/images" featx extract photos --store photos.h5

FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY featx featx
COPY data/samples data/samples
RUN pip install --no-cache-dir 'build>=1.2,<2' \
 && python -m build --outdir /dist

FROM python:3.12-slim
ARG DEVICE=cpu
ARG EXTRAS=openvino,serve,ann,parquet
# PyTorch's wheels on PyPI carry CUDA's libraries, 3 GB; those of its own index for processors do not.
RUN case "$DEVICE" in \
      cpu) index=https://download.pytorch.org/whl/cpu ;; \
      cuda) index=https://pypi.org/simple ;; \
      *) echo "DEVICE: got '$DEVICE', expected cpu or cuda" >&2; exit 1 ;; \
    esac \
 && pip install --no-cache-dir --index-url "$index" 'torch>=2.6' 'torchvision>=0.21'
COPY --from=build /dist /dist
RUN wheel=$(echo /dist/featx-*.whl) \
 && pip install --no-cache-dir "${wheel}[$EXTRAS]"
# Whoever runs it is no user of this image: caches and weights go where everybody may write.
ENV HOME=/tmp
USER 1000:1000
RUN featx --version && featx backbones featx_small
WORKDIR /images
ENTRYPOINT ["featx"]
CMD ["--help"]
