# The daemon in a container: no shell between it and its signals, no root, its state in /data.
FROM python:3.11-slim

WORKDIR /app
COPY pyproject.toml README.md config.toml ./
COPY bot bot
COPY strategies strategies
COPY models models
COPY backtest backtest
RUN pip install --no-cache-dir ".[torch]" \
    && useradd --create-home --uid 1000 lacuna \
    && mkdir /data \
    && chown lacuna /data

USER 1000
ENV LACUNA__STORAGE__FOLDER=/data LACUNA__WEB__HOST=0.0.0.0
VOLUME /data
EXPOSE 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/healthz', timeout=4)"]
ENTRYPOINT ["lacuna"]
CMD ["run"]
