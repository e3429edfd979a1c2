# syntax=docker/dockerfile:1
# Posthorn in a container: built in one stage, run in another, as nobody in particular.
# This file was not built where it was written: no container engine was at hand there.

FROM rust:1.95-bookworm AS build
WORKDIR /build
# aws-lc-rs compiles C; gcc is in the image, cmake is only a fall-back of its build script.
COPY . .
RUN cargo build --release --locked --bin posthorn

FROM debian:bookworm-slim
# The vendors' certificates are checked against the system's roots.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /var/lib/posthorn --create-home posthorn
COPY --from=build /build/target/release/posthorn /usr/local/bin/posthorn
USER posthorn
WORKDIR /var/lib/posthorn
VOLUME /var/lib/posthorn
# Relative to the configuration the store would be where this user cannot write.
ENV POSTHORN__STORE__URL=embedded:/var/lib/posthorn/data
EXPOSE 8080
# The configuration is mounted; inside a container the gateway has to listen on all addresses:
# set server.listen = "0.0.0.0:8080" there, and let only your load balancer reach it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
  CMD ["posthorn", "health", "--config", "/etc/posthorn/posthorn.toml"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["posthorn"]
CMD ["serve", "--config", "/etc/posthorn/posthorn.toml"]
