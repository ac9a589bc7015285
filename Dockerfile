# What a cluster runs: meshctl with the extra "cluster", and nothing that only an embedded mesh needs.
#   docker build -t registry.example.com/meshctl:0.1.0 .
# Pin the base by its digest where your registry can be asked for it: docker buildx imagetools inspect IMAGE
FROM python:3.13.5-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY analysis analysis
COPY templates templates
COPY meshctl meshctl
# constraints.txt names every version; what is compiled now need not be written later, where nothing may be written.
RUN python -m venv /opt/meshctl \
    && /opt/meshctl/bin/pip install --no-cache-dir --constraint constraints.txt ".[cluster]" \
    && /opt/meshctl/bin/pip uninstall --yes pip \
    && /opt/meshctl/bin/python -m compileall -q /opt/meshctl/lib

FROM python:3.13.5-slim-bookworm
COPY --from=build /opt/meshctl /opt/meshctl
ENV PATH=/opt/meshctl/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["meshctl"]
CMD ["--help"]
