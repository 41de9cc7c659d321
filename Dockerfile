FROM python:3.11-slim

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONUNBUFFERED=1
WORKDIR /opt/seawall

# Apart from the program, so that a change of it fetches nothing.
COPY requirements/runtime.txt requirements/
RUN pip install --require-hashes -r requirements/runtime.txt

COPY . .
RUN pip install --no-deps --no-index --no-build-isolation . \
    && mkdir /var/lib/seawall && chown 10001 /var/lib/seawall

USER 10001
ENV HOME=/var/lib/seawall SEAWALL_DATA_DIR=/var/lib/seawall
VOLUME /var/lib/seawall
# From here, /opt/seawall would stand before the installed package.
WORKDIR /var/lib/seawall

ENTRYPOINT ["seawall"]
CMD ["worker"]
