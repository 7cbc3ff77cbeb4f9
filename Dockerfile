# segpipe in a container. CPU:  docker build -t segpipe .
#                         CUDA: docker build -t segpipe:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
# Each step is an ordinary command that can be run by hand, in this order, on any machine with Python 3.11 or newer.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY conf conf
COPY segpipe segpipe
RUN pip wheel --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY --from=build /wheels /wheels
COPY constraints.txt /tmp/constraints.txt
RUN pip install --no-cache-dir -c /tmp/constraints.txt --extra-index-url "${TORCH_INDEX}" torch \
    && pip install --no-cache-dir -c /tmp/constraints.txt /wheels/*.whl \
    && rm -rf /wheels /tmp/constraints.txt
RUN useradd --create-home --uid 1000 segpipe && install --directory --owner segpipe --mode 0700 /state
USER segpipe
WORKDIR /home/segpipe
ENV SEGPIPE_CACHE=/home/segpipe/.cache/segpipe MLFLOW_DISABLE_TELEMETRY=true
ENTRYPOINT ["python", "-m", "segpipe"]
CMD ["--help"]
