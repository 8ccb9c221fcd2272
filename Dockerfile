# The environment for Docker and Kubernetes work pools, without the repository: docs/guide/prefect.md. Not built by any test.
FROM python:3.12-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/ferops
COPY Makefile pyproject.toml requirements.lock README.md LICENSE ./
COPY src src
RUN make setup && rm -rf /root/.cache
ENV PATH=/opt/ferops/.venv/bin:$PATH
