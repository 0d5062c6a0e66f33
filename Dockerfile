# docker build --target cpu .     or     docker build --target cuda .
# Arguments: PYTHON and TORCH, versions; for cpu PIP_EXTRA_INDEX_URL, where PyTorch's CPU builds are. See
# docs/environments.md.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/cache \
    UNPAIRED_CACHE=/cache
RUN useradd --uid 10001 --no-create-home --home-dir /cache unpaired \
    && install -d -m 1777 /cache /data
WORKDIR /data
COPY requirements/serve.txt requirements/constraints.txt /requirements/
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["unpaired"]
CMD ["serve", "demo/fish", "demo/day2dusk", "--host", "0.0.0.0"]

FROM base AS cuda
# The usual build for Linux brings its CUDA libraries; the host has the driver.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
ARG TORCH=2.13.0
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir "torch==${TORCH}" \
    && pip install --no-cache-dir --requirement /requirements/serve.txt \
    && pip install --no-cache-dir --no-deps /wheels/*.whl
USER 10001

FROM base AS cpu
ARG TORCH=2.13.0
ARG PIP_EXTRA_INDEX_URL
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir "torch==${TORCH}" \
    && pip install --no-cache-dir --requirement /requirements/serve.txt \
    && pip install --no-cache-dir --no-deps /wheels/*.whl
USER 10001
