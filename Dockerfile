# syntax=docker/dockerfile:1
# A server of one model: docker build -t classics . ; docs/serving.md says how to run it.

# The wheel, and what it needs, in a virtual environment.
FROM python:3.12.12-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/classics
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
# keras is imported only where an artefact is converted or run by it; tensorflow converts it.
# Leave `tensorflow` out (--build-arg EXTRAS=serve,openvino) to serve exports alone.
ARG EXTRAS=serve,openvino,tensorflow
RUN /opt/classics/bin/pip install ".[${EXTRAS}]"

FROM python:3.12.12-slim-trixie
COPY --from=build /opt/classics /opt/classics
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin classics
ENV PATH=/opt/classics/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /home/classics
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=2)"]
# Others reach it, so it needs a key: --env KERAS_CLASSICS_API_KEY, or --api-key-file.
ENTRYPOINT ["classics", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["/models/model"]
