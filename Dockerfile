# Milepost's image: one for every service; the command says which one runs (docker-compose.yml).

FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/milepost
ENV PATH=/opt/milepost/bin:$PATH
WORKDIR /src
# The dependencies first: they change more seldom than the code, and their layer is kept.
COPY requirements-runtime.lock ./
RUN pip install --require-hashes --no-deps -r requirements-runtime.lock
COPY pyproject.toml LICENSE ./
COPY milepost milepost
COPY collector collector
COPY correlator correlator
COPY sla sla
COPY anomaly anomaly
COPY alerting alerting
COPY dashboards dashboards
COPY exports exports
COPY simulator simulator
RUN pip install --no-deps --no-build-isolation . \
    && pip uninstall --yes setuptools pip

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="Milepost" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --no-create-home --home-dir /var/lib/milepost milepost \
    && install -d -o milepost -g milepost -m 0700 /var/lib/milepost
COPY --from=build /opt/milepost /opt/milepost
ENV PATH=/opt/milepost/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MILEPOST_HOST=0.0.0.0 \
    MILEPOST_PORT=8080 \
    MILEPOST_DATA_DIR=/var/lib/milepost
# The collector's spool, and, without MILEPOST_DATABASE_URL, the embedded PostgreSQL.
VOLUME /var/lib/milepost
WORKDIR /var/lib/milepost
USER milepost
EXPOSE 8080 4318
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['MILEPOST_PORT'] + '/healthz', timeout=4)"]
ENTRYPOINT ["milepost"]
CMD ["run"]
