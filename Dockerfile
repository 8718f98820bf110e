# zoo as a container: models and bins are mounted, nothing is in the image but face-zoo and what it
# needs, in the versions of constraints.txt.
#
#   docker build -t face-zoo .                       # CPU
#   docker build -t face-zoo:gpu --build-arg EXTRAS=legacy,onnx,gpu .
#   docker run --rm -v "$PWD":/work face-zoo eval model.h5 --bins lfw --data datasets
#   docker run --rm --gpus all -v "$PWD":/work face-zoo:gpu eval model.onnx --bins lfw
#
# Results are written into the mounted folder: by your own user with --user "$(id -u):$(id -g)".
ARG PYTHON=3.11
FROM python:${PYTHON}-slim-bookworm AS build
ARG EXTRAS=legacy,onnx
WORKDIR /source
# Of the build too; pip asks for these by two names, an older and a newer one.
ENV PIP_CONSTRAINT=/source/constraints.txt PIP_BUILD_CONSTRAINT=/source/constraints.txt
RUN python -m venv /opt/zoo
COPY pyproject.toml constraints.txt README.md LICENSE models.yaml ./
COPY evaluator evaluator
COPY training training
COPY zoo zoo
RUN /opt/zoo/bin/pip install --no-cache-dir ".[${EXTRAS}]" \
    && /opt/zoo/bin/zoo --version

FROM python:${PYTHON}-slim-bookworm
COPY --from=build /opt/zoo /opt/zoo
# --user may name somebody without a home; caches and scikit-learn's downloads go where all may write.
ENV PATH=/opt/zoo/bin:$PATH HOME=/home/zoo SCIKIT_LEARN_DATA=/work/scikit_learn_data
RUN useradd --uid 1000 --home-dir /home/zoo --create-home zoo && chmod 1777 /home/zoo \
    && install --directory --owner=zoo --group=zoo /work
USER 1000:1000
WORKDIR /work
ENTRYPOINT ["zoo"]
CMD ["--help"]
