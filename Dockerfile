# A server of one trained classifier, for CPUs, run by a user without rights. docs/how-to.md says how.
#
#     docker build -t lasttoken .
#     docker run --rm -p 127.0.0.1:8000:8000 \
#         -v "$PWD/runs/reviews:/model:ro" -v "$PWD/key.txt:/key.txt:ro" lasttoken
#
# /model is a run folder or model folder, /key.txt holds the API key. `--target light` makes a smaller image, without
# torch, whose /model is a folder that `lasttoken export` wrote.
FROM python:3.11-slim AS server
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 HOME=/tmp
EXPOSE 8000
HEALTHCHECK --start-period=120s --interval=10s --timeout=5s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["lasttoken", "serve", "/model", "--host", "0.0.0.0", "--api-key-file", "/key.txt"]
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src

FROM server AS light
ARG PIP_ARGS=""
RUN pip install --no-cache-dir ${PIP_ARGS} --no-deps . && pip install --no-cache-dir ${PIP_ARGS} -c constraints.txt \
    fastapi ftfy numpy onnxruntime prometheus-client pydantic rich tokenizers typing-extensions tyro uvicorn \
    && rm -rf /build/*
WORKDIR /
USER 10001:10001

FROM server AS full
# Further options of pip, such as the one with which torch's builds for CPUs are found.
ARG PIP_ARGS=""
RUN pip install --no-cache-dir ${PIP_ARGS} -c constraints.txt '.[serve]' && rm -rf /build/*
WORKDIR /
USER 10001:10001
