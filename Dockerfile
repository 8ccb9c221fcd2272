# The environment and ferops, without a repository; `make image` builds it: docs/guide/containers.md.
ARG BASE=docker.io/library/python:3.12-slim
FROM $BASE
RUN { python3 -c 'import ensurepip' && command -v git && command -v make; } >/dev/null 2>&1 \
    || { apt-get update \
        && apt-get install --yes --no-install-recommends git make $(command -v python3 >/dev/null || echo python3-venv) \
        && rm -rf /var/lib/apt/lists/* /var/cache/apt; }
# git reads a clone of any owner, and DVC's experiments need an author: a clone's own settings win
RUN useradd --create-home --uid 1000 ferops \
    && git config --system safe.directory '*' \
    && git config --system user.name ferops \
    && git config --system user.email ferops@localhost
WORKDIR /opt/ferops
ENV PATH=/opt/ferops/.venv/bin:$PATH \
    MLFLOW_DISABLE_TELEMETRY=true \
    DO_NOT_TRACK=true \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    GX_ANALYTICS_ENABLED=false
# a layer that src, README.md and LICENSE do not change; the secrets are `make image`'s, and no layer keeps them
COPY Makefile pyproject.toml requirements.lock ./
RUN --mount=type=secret,id=pip --mount=type=secret,id=certificates \
    mkdir src && touch README.md LICENSE \
    && export PIP_CONFIG_FILE=/run/secrets/pip CERTIFICATES=/run/secrets/certificates \
    && { test ! -e $CERTIFICATES || export SSL_CERT_FILE=$CERTIFICATES PIP_CERT=$CERTIFICATES; } \
    && make setup \
    && rm -rf /root/.cache
COPY README.md LICENSE ./
COPY weights weights
COPY src src
RUN python -m compileall -q src
USER ferops
ARG REVISION=unknown
LABEL org.opencontainers.image.title=ferops \
    org.opencontainers.image.licenses=MIT \
    org.opencontainers.image.revision=$REVISION
